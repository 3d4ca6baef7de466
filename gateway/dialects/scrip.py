"""Scrip's event ingestion: one event a request, kept apart by program and idempotency key.

Document: seeds/scrip.txt; where it leaves something open, spec/dialects.md. Decided here: null counts as missing (the
answer itself has nulls), "" does not; UUIDs are taken in any case and kept in lower case, so that one participant is
one player; the answer repeats what was sent.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway import jsontext, values
from gateway.canonical import scope
from gateway.dialects.base import Accepted, Dialect, Fault, Idempotency, Request, Route
from gateway.dialects.description import schema
from gateway.drafts import Draft, Drafts, ids
from gateway.freeform import FreeForm, beside, first_text
from gateway.shape import Key, Object, Open, Rfc3339, Shape, Uuid, fields_of

NAME = "scrip"

SAMPLE: dict[str, Any] = {
    "event_data": {},
    "event_timestamp": "2024-01-15T10:30:00Z",
    "idempotency_key": "order-12345-completed",
    "program_id": "550e8400-e29b-41d4-a716-446655440000",
    "external_id": "user_abc123",
    "recipient_external_id": "user_xyz789",
}


class ScripEvent(Open):
    """An event; exactly one of external_id and participant_id."""

    model_config = ConfigDict(json_schema_extra={"examples": [SAMPLE]})

    event_data: Object = Field(description="What the rules evaluate; free-form")
    event_timestamp: Rfc3339
    idempotency_key: Key = Field(description="Ensures that this event is processed once; unique per program")
    program_id: Uuid = Field(description="Program of this event")
    external_id: Key | None = Field(None, description="Your identifier of the user; excludes participant_id")
    participant_id: Uuid | None = Field(None, description="Scrip's UUID of the participant; excludes external_id")
    recipient_external_id: Key | None = Field(None, description="Who is rewarded instead; excludes recipient_id")
    recipient_id: Uuid | None = Field(None, description="Who is rewarded instead; excludes recipient_external_id")


class Pending(BaseModel):
    """The event is in Kafka."""

    event_timestamp: str = Field(description="As sent")
    external_id: str | None
    id: str = Field(description="Unique identifier of the created event")
    idempotency_key: str
    participant_id: str | None
    program_id: str
    status: str = Field(description="PENDING")


SHAPE = Shape(ScripEvent)
DATA = FreeForm()
RECIPIENT = ("recipient_external_id", "recipient_id")
PARTICIPANT = ("external_id", "participant_id")


def read(value: dict[str, Any], received_at: int) -> Draft:
    """An event as canonical columns, with its faults."""
    event, faults = SHAPE.read(value)
    faults += _rules(event, fields_of(faults), received_at)
    if faults:
        return Draft({}, {}, faults)
    program = event.program_id.lower()
    columns: dict[str, Any] = {
        "event_name": "event",
        "event_time": event.event_timestamp,
        "player_id": event.participant_id.lower() if event.participant_id else event.external_id,
        "campaign": program,
        "program_id": program,
        "idempotency_key": event.idempotency_key,
    }
    rest = DATA.take(event.event_data, columns, received_at)
    columns["event_name"] = first_text(rest, "type", "event_type", "event") or "event"
    left = {name: value[name] for name in RECIPIENT if value.get(name) is not None}
    properties = beside(rest, {**left, **(event.__pydantic_extra__ or {})})
    return Draft(columns, properties, key=("program", program, event.idempotency_key))


def _rules(event: ScripEvent, faulty: frozenset[str], received_at: int) -> list[Fault]:
    """The rules between fields, and that no event lies ahead."""
    faults = []
    if event.event_timestamp is not None and (wrong := values.ahead(event.event_timestamp, received_at)):
        faults.append(Fault("event_timestamp", wrong))
    participants, recipients = _sent(event, PARTICIPANT, faulty), _sent(event, RECIPIENT, faulty)
    if participants == 0:
        faults.append(Fault("external_id", "or participant_id is required: send exactly one of them"))
    if participants == 2:
        faults.append(Fault("participant_id", "excludes external_id: send exactly one of them"))
    if recipients == 2:
        faults.append(Fault("recipient_id", "excludes recipient_external_id: send at most one of them"))
    return faults


def _sent(event: ScripEvent, names: tuple[str, str], faulty: frozenset[str]) -> int:
    """How many of the fields were sent, rightly or wrongly."""
    return sum(name in faulty or getattr(event, name) is not None for name in names)


def ingest(request: Request) -> Accepted:
    """POST /v1/events."""
    drafts = Drafts(request, NAME, scope(NAME, request.route, None))  # the header is not read: the body has its own key
    piece = jsontext.read(request.body)
    event = drafts.one(piece, read)
    sent = piece.value
    answer = {
        "event_timestamp": sent["event_timestamp"],
        "external_id": sent.get("external_id"),
        "id": ids([event])[0],
        "idempotency_key": sent["idempotency_key"],
        "participant_id": sent.get("participant_id"),
        "program_id": sent["program_id"],
        "status": "PENDING",
    }
    accepted = drafts.accepted(202, answer, [event])
    accepted.idempotency = Idempotency(event["dedup_key"], event["fingerprint"], 409, event["idempotency_key"])
    return accepted


DIALECT = Dialect(
    NAME,
    routes=(
        Route(
            "POST",
            "/v1/events",
            ingest,
            summary="Ingest an event",
            body=schema(ScripEvent),
            answers={202: schema(Pending)},
            example=SAMPLE,
        ),
    ),
    limit=1000,
    refusals=(400, 401, 409, 429),
)
