"""Adwize's Event Ingestion API: an array of events with a source, a type and free-form data.

Document: seeds/adwize.txt; where it leaves something open, spec/dialects.md.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gateway import jsontext
from gateway.columns import Column, Members, members
from gateway.dialects.base import Accepted, Dialect, Request, Route
from gateway.dialects.description import IDEMPOTENCY_KEY, array_of, schema
from gateway.drafts import Draft, Drafts
from gateway.flat import Flat
from gateway.freeform import FreeForm, beside
from gateway.shape import Name, Object, Open

NAME = "adwize"
BATCH = 1000

PURCHASE: dict[str, Any] = {
    "source": "backend",
    "event_type": "purchase",
    "data": {"transaction_id": "TXN-12345", "value": 99.99, "currency": "USD"},
}
SIGNUP: dict[str, Any] = {
    "source": "backend",
    "event_type": "signup",
    "data": {"user_id": "usr_abc123", "plan": "pro"},
}


class AdwizeEvent(Open):
    """An event; any further property is accepted."""

    model_config = ConfigDict(json_schema_extra={"examples": [PURCHASE, SIGNUP]})

    source: Name = Field(description="Identifier of the data source")
    event_type: Name = Field(description="Type of event")
    data: Object = Field(description="Arbitrary key-value payload")


class Ingested(BaseModel):
    """Every event is in Kafka."""

    ingested: int = Field(ge=0, description="How many events were ingested")


EVENT = Flat(AdwizeEvent)
DATA = FreeForm(
    player_id=("user_id", "player_id", "customer_id"),
    device_id=("device_id",),
    amount=("value", "amount"),
    event_time=("timestamp",),
    campaign=("campaign_id",),
)


def read(value: dict[str, Any], received_at: int) -> Draft:
    """An event as canonical columns, with its faults."""
    event, others, faults = EVENT.read(value)
    if faults:
        return Draft({}, {}, faults)
    columns: dict[str, Any] = {"event_name": event["event_type"]}
    rest = DATA.take(event["data"], columns, received_at)
    return Draft(columns, beside(rest, {"source": event["source"], **others}), faults)


def read_all(sent: Members, received_at: int) -> tuple[dict[str, Column], Members]:
    """Events of one shape, ``data`` included, as canonical columns. Raises ValueError where one may have a fault."""
    event, others = EVENT.columns(sent)
    columns: dict[str, Column] = {"event_name": event["event_type"]}
    rest = DATA.columns(members(event["data"]), columns, received_at)
    envelope = {"source": event["source"], **others}
    if not rest.keys().isdisjoint(envelope):
        raise ValueError("a name is taken")
    return columns, {**rest, **envelope}


def pieces(request: Request) -> jsontext.Batch:
    """The body's events. Raises Malformed, Refusal."""
    return jsontext.read_array(request.body, BATCH)


def accept(request: Request, batch: jsontext.Batch) -> Accepted:
    """The answer to a body that was taken to pieces."""
    drafts = Drafts.of(request, NAME)
    events = drafts.all(batch, read, read_all, "data")
    return drafts.accepted(201, {"ingested": len(events)}, events)


def ingest(request: Request) -> Accepted:
    """POST /api/v1/events with an array."""
    return accept(request, pieces(request))


DIALECT = Dialect(
    NAME,
    routes=(
        Route(
            "POST",
            "/api/v1/events",
            ingest,
            summary="Ingest a batch of events",
            body=array_of(AdwizeEvent, BATCH),
            answers={201: schema(Ingested)},
            example=[PURCHASE, SIGNUP],
            headers=IDEMPOTENCY_KEY,
        ),
    ),
    limit=1000,
)
