"""Absinthe's Events API: events are registered per campaign, then amounts of them are submitted for users.

Document: seeds/absinthe.txt (routes, headers, ideas); fields and codes: spec/dialects.md. Decided here:

- null and "" count as missing, but for ``name``.
- A registered event's id is made of workspace, campaign and name, so that gateways that register it at once agree, and
  ``POST /events/data`` can answer with the id that the name has, or would get.
- Registering again without a description says nothing against the one that stands: 200.
- Data for a registered event belongs to the campaign of the header, else to that of the registration; a header that
  names another campaign than the registration is a 400.
"""

import re
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from gateway import jsontext, values
from gateway.dialects.base import Accepted, Dialect, Fault, Registry, Request, Route
from gateway.dialects.description import IDEMPOTENCY_KEY, array_of, schema
from gateway.drafts import Draft, Drafts, header, ids, refusal
from gateway.shape import Amount, Name, Open, Shape, Time, fields_of
from schemas.keys import key, uuid5_bytes, uuid_text
from schemas.money import to_bytes

NAME = "absinthe"
CAMPAIGN = {"X-Campaign-ID": "Campaign of the event; without it, the whole workspace"}

REGISTRATION: dict[str, Any] = {"name": "monsters_killed", "description": "Monsters killed in one match"}
DATA: dict[str, Any] = {"identity": "0x52908400098527886e0f7030069857d2e4169ee7", "amount": 12}


class Registration(Open):
    """An event to register."""

    model_config = ConfigDict(json_schema_extra={"examples": [REGISTRATION]})

    name: Name = Field(description="Name of the event, unique in its campaign")
    description: str | None = Field(None, description="Its purpose")


class User(Open):
    """Whose activity it is."""

    id: str | None = Field(None, description="Identity of the user")


class Data(Open):
    """An amount for a user, who is named by one of user.id, identity, user_id and wallet_address."""

    model_config = ConfigDict(json_schema_extra={"examples": [DATA]})

    amount: Amount
    user: User | None = None
    identity: str | None = Field(None, description="Identity of the user")
    user_id: str | None = Field(None, description="Identity of the user")
    wallet_address: str | None = Field(None, description="Identity of the user")
    event_timestamp: Time | None = None
    click_id: str | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None


class NamedData(Data):
    """The same for an event that needs no registration."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "monsters_killed", **DATA}]})

    name: Name = Field(description="Name of the event")


class RegisteredEvent(BaseModel):
    """An event that stands in the registry."""

    event_id: str
    name: str
    campaign_id: str | None


class DescribedEvent(RegisteredEvent):
    """The same with its purpose."""

    description: str | None


class Submitted(BaseModel):
    """The data is in Kafka."""

    event_id: str = Field(description="Of the registered event")
    id: str = Field(description="Of this data")


REGISTRATION_SHAPE, DATA_SHAPE, NAMED_SHAPE = Shape(Registration), Shape(Data), Shape(NamedData)
TEXTS = ("click_id", "utm_source", "utm_medium", "utm_campaign", "ip_address", "user_agent")
IDENTITIES = ("user", "identity", "user_id", "wallet_address")
_id = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def read(value: dict[str, Any], received_at: int) -> Draft:
    """Data for a registered event; its name is the registry's to say."""
    return _draft(*DATA_SHAPE.read(value), received_at)


def read_named(value: dict[str, Any], received_at: int) -> Draft:
    """Data that names its event."""
    event, faults = NAMED_SHAPE.read(value)
    draft = _draft(event, faults, received_at)
    draft.columns["event_name"] = event.name
    return draft


def _draft(event: Data, faults: list[Fault], received_at: int) -> Draft:
    identity, wrong = _identity(event, fields_of(faults))
    faults += wrong
    if event.event_timestamp is not None and (ahead := values.ahead(event.event_timestamp, received_at)):
        faults.append(Fault("event_timestamp", ahead))
    if faults:
        return Draft({}, {}, faults)
    columns: dict[str, Any] = {"player_id": identity, "amount": to_bytes(event.amount)}
    columns.update((name, text) for name in TEXTS if (text := getattr(event, name)))
    if event.event_timestamp is not None:
        columns["event_time"] = event.event_timestamp
    properties = dict(event.__pydantic_extra__ or {})
    if event.user is not None and event.user.__pydantic_extra__:
        properties["user"] = event.user.__pydantic_extra__
    return Draft(columns, properties)


def _identity(event: Data, faulty: frozenset[str]) -> tuple[str, list[Fault]]:
    """The first identity that is present. Two that differ are a fault, and so is none."""
    sent = {
        "user.id": event.user.id if event.user is not None else None,
        "identity": event.identity,
        "user_id": event.user_id,
        "wallet_address": event.wallet_address,
    }
    present = {name: text for name, text in sent.items() if text}
    if not present:
        missing = [Fault("identity", "is required: user.id, identity, user_id or wallet_address")]
        return "", missing if faulty.isdisjoint(IDENTITIES) else []
    first, identity = next(iter(present.items()))
    return identity, [Fault(name, f"differs from {first}") for name, text in present.items() if text != identity]


def _event_id(tenant: str, campaign: str | None, name: str) -> str:
    return uuid_text(uuid5_bytes(key(tenant, NAME, "registered", campaign, name)))


def _drafts(request: Request, route: str | None = None) -> tuple[Drafts, str | None]:
    """The request's drafts, and its campaign."""
    faults: list[Fault] = []
    campaign = header(request.headers, "X-Campaign-ID", faults)
    drafts = Drafts.of(request, NAME, route=route, campaign=campaign)
    drafts.faults += faults
    return drafts, campaign


class Handlers:
    """The routes, over the registry that all gateways share."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def register(self, request: Request) -> Accepted:
        """POST /events."""
        drafts, campaign = _drafts(request)
        piece = jsontext.read(request.body)
        draft = drafts.draft(piece, _read_registration)
        drafts.refuse_faults()
        name, description = draft.columns["event_name"], draft.columns["description"]
        record, made = await self.registry.register(
            {
                "event_id": _event_id(request.tenant, campaign, name),
                "tenant": request.tenant,
                "campaign": campaign,
                "name": name,
                "description": description,
                "created_at": request.received_at,
            }
        )
        if not made and description not in (None, record["description"]):
            raise refusal([Fault("description", "differs from the one with which this event is registered")], 409)
        return Accepted(201 if made else 200, orjson.dumps(_registered(record)))

    async def listing(self, request: Request) -> Accepted:
        """GET /events."""
        faults: list[Fault] = []
        campaign = header(request.headers, "X-Campaign-ID", faults)
        if faults:
            raise refusal(faults)
        found = await self.registry.list(request.tenant, campaign)
        return Accepted(200, orjson.dumps({"events": [_described(record) for record in found]}))

    async def submit(self, request: Request) -> Accepted:
        """POST /events/{event_id}/data."""
        event_id = request.params["event_id"]
        known = _id(event_id) is not None
        drafts, campaign = _drafts(request, f"POST /events/{event_id}/data" if known else None)
        piece = jsontext.read(request.body)
        draft = drafts.draft(piece, read)
        drafts.refuse_faults()
        record = await self.registry.find(request.tenant, event_id) if known else None
        if record is None:
            raise refusal([Fault("event_id", "is not registered: POST /events first")], 404)
        if campaign is not None and record["campaign"] not in (None, campaign):
            raise refusal([Fault("X-Campaign-ID", "is not the campaign in which this event is registered")])
        draft.columns["event_name"] = record["name"]
        draft.columns["campaign"] = campaign if campaign is not None else record["campaign"]
        event = drafts.event(piece, draft)
        return drafts.accepted(202, {"event_id": event_id, "id": ids([event])[0]}, [event])

    async def submit_named(self, request: Request) -> Accepted:
        """POST /events/data."""
        drafts, campaign = _drafts(request)
        piece = jsontext.read(request.body)
        draft = drafts.draft(piece, read_named)
        drafts.refuse_faults()
        draft.columns["campaign"] = campaign
        event = drafts.event(piece, draft)
        event_id = _event_id(request.tenant, campaign, event["event_name"])
        return drafts.accepted(202, {"event_id": event_id, "id": ids([event])[0]}, [event])


def _read_registration(value: dict[str, Any], _: int) -> Draft:
    event, faults = REGISTRATION_SHAPE.read(value)
    return Draft({"event_name": event.name, "description": event.description or None}, {}, faults)


def _registered(record: Any) -> dict[str, Any]:
    return {"event_id": record["event_id"], "name": record["name"], "campaign_id": record["campaign"]}


def _described(record: Any) -> dict[str, Any]:
    return {
        "event_id": record["event_id"],
        "name": record["name"],
        "description": record["description"],
        "campaign_id": record["campaign"],
    }


def dialect(registry: Registry) -> Dialect:
    """The dialect over a registry."""
    handlers = Handlers(registry)
    listed = {
        "type": "object",
        "required": ["events"],
        "properties": {"events": array_of(DescribedEvent)},
    }
    return Dialect(
        NAME,
        routes=(
            Route(
                "POST",
                "/events",
                handlers.register,
                summary="Register an event",
                body=schema(Registration),
                answers={201: schema(RegisteredEvent), 200: schema(RegisteredEvent)},
                example=REGISTRATION,
                headers=CAMPAIGN,
            ),
            Route(
                "GET",
                "/events",
                handlers.listing,
                summary="List registered events",
                answers={200: listed},
                headers=CAMPAIGN,
            ),
            Route(
                "POST",
                "/events/{event_id}/data",
                handlers.submit,
                summary="Submit event data",
                body=schema(Data),
                answers={202: schema(Submitted)},
                example=DATA,
                headers=CAMPAIGN | IDEMPOTENCY_KEY,
            ),
            Route(
                "POST",
                "/events/data",
                handlers.submit_named,
                summary="Submit data of an event that needs no registration",
                body=schema(NamedData),
                answers={202: schema(Submitted)},
                example={"name": "monsters_killed", **DATA},
                headers=CAMPAIGN | IDEMPOTENCY_KEY,
            ),
        ),
        limit=1000,
        forbidden=403,
        refusals=(400, 401, 403, 404, 409, 429),
    )
