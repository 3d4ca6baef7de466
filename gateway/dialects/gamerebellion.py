"""GameRebellion's S2S API: events with identifiers, utm and a free-form payload; sessions by routes of their own.

Document: seeds/gamerebellion.txt; where it leaves something open, spec/dialects.md. Decided here: null and "" count as
missing in identifiers and utm; members beside ``events`` in a batch are let pass and not kept.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ConfigDict, Field

from gateway import jsontext, values
from gateway.dialects.base import Accepted, Dialect, Event, Fault, Request, Route
from gateway.dialects.description import IDEMPOTENCY_KEY, Counted, array_of, schema
from gateway.drafts import Draft, Drafts, ids
from gateway.freeform import FreeForm, beside
from gateway.shape import Name, Object, Open, Shape, Time, fields_of

NAME = "gamerebellion"
BATCH = 100

TRANSACTION: dict[str, Any] = {
    "event_type": "transaction",
    "identifiers": {"player_id": "player-12345", "device_id": "device-uuid"},
    "utm": {"source": "facebook", "medium": "cpc", "campaign": "summer_2026"},
    "payload": {
        "amount": 4.99,
        "currency": "USD",
        "type": "iap",
        "description": "Premium Sword",
        "status": "success",
        "usd_value": 4.99,
    },
}
IMPRESSION: dict[str, Any] = {"event_type": "impression", "payload": {"campaign_id": "summer_2026"}}
SESSION: dict[str, Any] = {"identifiers": {"player_id": "player-12345"}, "session_id": "session-1"}


class Identifiers(Open):
    """Who it was."""

    player_id: str | None = Field(None, description="Player")
    device_id: str | None = Field(None, description="Device")


class Utm(Open):
    """Which campaign brought them."""

    source: str | None = Field(None, description="utm_source")
    medium: str | None = Field(None, description="utm_medium")
    campaign: str | None = Field(None, description="utm_campaign")


class Envelope(Open):
    """What events and session calls have in common."""

    utm: Utm | None = None
    timestamp: Time | None = None


class GameRebellionEvent(Envelope):
    """An event; any further property is accepted."""

    model_config = ConfigDict(json_schema_extra={"examples": [TRANSACTION, IMPRESSION]})

    event_type: Name = Field(description="Type of event")
    payload: Object = Field(description="What happened; free-form")
    identifiers: Identifiers | None = None


class GameRebellionSession(Envelope):
    """A session call; player_id or device_id is required."""

    model_config = ConfigDict(json_schema_extra={"examples": [SESSION]})

    identifiers: Identifiers
    session_id: str | None = Field(None, description="The client's own id of the session")
    payload: Object | None = Field(None, description="Anything else; free-form")


EVENT = Shape(GameRebellionEvent)
SESSION_CALL = Shape(GameRebellionSession)
PAYLOAD = FreeForm(event_time=("timestamp",), campaign=("campaign_id",))


def read(value: dict[str, Any], received_at: int) -> Draft:
    """An event as canonical columns, with its faults."""
    event, faults = EVENT.read(value)
    faults += _ahead(event, received_at)
    if faults:
        return Draft({}, {}, faults)
    return _draft(event, event.event_type, event.payload, received_at, {})


def session(name: str) -> Callable[[dict[str, Any], int], Draft]:
    """Reads the calls of a session route into events called ``name``."""

    def read_session(value: dict[str, Any], received_at: int) -> Draft:
        event, faults = SESSION_CALL.read(value)
        who = event.identifiers
        if "identifiers" not in fields_of(faults) and not (who.player_id or who.device_id):
            faults.append(Fault("identifiers", "must have a player_id or a device_id"))
        faults += _ahead(event, received_at)
        if faults:
            return Draft({}, {}, faults)
        own = {} if event.session_id is None else {"session_id": event.session_id}
        return _draft(event, name, event.payload or {}, received_at, own)

    return read_session


def _ahead(event: Envelope, received_at: int) -> list[Fault]:
    wrong = None if event.timestamp is None else values.ahead(event.timestamp, received_at)
    return [Fault("timestamp", wrong)] if wrong else []


def _draft(
    event: GameRebellionEvent | GameRebellionSession,
    name: str,
    payload: dict[str, Any],
    received_at: int,
    left: dict[str, Any],
) -> Draft:
    columns: dict[str, Any] = {"event_name": name}
    if event.timestamp is not None:
        columns["event_time"] = event.timestamp
    who, utm = event.identifiers, event.utm
    if who is not None:
        _fill(columns, player_id=who.player_id, device_id=who.device_id)
        if who.__pydantic_extra__:
            left["identifiers"] = who.__pydantic_extra__
    if utm is not None:
        _fill(columns, campaign=utm.campaign, utm_source=utm.source, utm_medium=utm.medium, utm_campaign=utm.campaign)
        if utm.__pydantic_extra__:
            left["utm"] = utm.__pydantic_extra__
    rest = PAYLOAD.take(payload, columns, received_at)
    return Draft(columns, beside(rest, {**left, **(event.__pydantic_extra__ or {})}))


def _fill(columns: dict[str, Any], **texts: str | None) -> None:
    columns.update((column, text) for column, text in texts.items() if text)


def _counted(drafts: Drafts, events: Sequence[Event]) -> Accepted:
    return drafts.accepted(200, {"accepted": len(events), "event_ids": ids(events)}, events)


def track(request: Request) -> Accepted:
    """POST /api/v1/event."""
    drafts = Drafts.of(request, NAME)
    return _counted(drafts, [drafts.one(jsontext.read(request.body), read)])


def pieces(request: Request) -> jsontext.Batch:
    """The body's events. Raises Malformed, Refusal."""
    batch = jsontext.read_member(request.body, "events", BATCH)
    if not batch.pieces and not batch.faults:
        batch.faults.append(Fault("events", "must not be empty"))
    return batch


def accept(request: Request, batch: jsontext.Batch) -> Accepted:
    """The answer to a body that was taken to pieces."""
    drafts = Drafts.of(request, NAME)
    return _counted(drafts, drafts.all(batch, read))


def track_batch(request: Request) -> Accepted:
    """POST /api/v1/events with an object."""
    return accept(request, pieces(request))


def _session_route(verb: str) -> Route:
    read_session = session(f"session_{verb}")

    def handle(request: Request) -> Accepted:
        drafts = Drafts.of(request, NAME)
        return _counted(drafts, [drafts.one(jsontext.read(request.body), read_session)])

    return Route(
        "POST",
        f"/api/v1/sessions/{verb}",
        handle,
        summary=f"Session {verb}",
        body=schema(GameRebellionSession),
        answers={200: schema(Counted)},
        example=SESSION,
        headers=IDEMPOTENCY_KEY,
    )


DIALECT = Dialect(
    NAME,
    routes=(
        Route(
            "POST",
            "/api/v1/event",
            track,
            summary="Single event",
            body=schema(GameRebellionEvent),
            answers={200: schema(Counted)},
            example=TRANSACTION,
            headers=IDEMPOTENCY_KEY,
        ),
        Route(
            "POST",
            "/api/v1/events",
            track_batch,
            summary="Batch of events",
            body={
                "type": "object",
                "required": ["events"],
                "properties": {"events": array_of(GameRebellionEvent, BATCH, 1)},
            },
            answers={200: schema(Counted)},
            example={"events": [IMPRESSION, TRANSACTION]},
            headers=IDEMPOTENCY_KEY,
        ),
        _session_route("start"),
        _session_route("stop"),
        _session_route("end"),
    ),
    limit={"free": 100, "pro": 1000, "enterprise": None},
    forbidden=403,
    refusals=(400, 401, 403, 429, 500),
    unavailable=500,
)
