"""CloudEvents 1.0 over HTTP, in binary, structured and batch mode (JSON format); the mapping is ours: docs/dialects.md.

Specification: HTTP protocol binding 1.0.2 and JSON event format 1.0.2 of the CNCF. An event is known by source and id,
which no two events may share: they are its dedup key. An attribute that is null counts as missing (JSON format, 2.2).
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from pydantic import ConfigDict, Field

from gateway import jsontext, values
from gateway.dialects.base import Accepted, Dialect, Event, Fault, Refusal, Request, Route
from gateway.dialects.description import IDEMPOTENCY_KEY, Counted, array_of, schema
from gateway.drafts import Draft, Drafts, ids
from gateway.flaws import PATH, under
from gateway.freeform import FreeForm, beside
from gateway.jsontext import Piece
from gateway.shape import Name, Open, Rfc3339, Shape
from gateway.values import Number

NAME = "cloudevents"
BATCH = 1000

SAMPLE: dict[str, Any] = {
    "specversion": "1.0",
    "id": "A234-1234-1234",
    "source": "/games/slots",
    "type": "bet",
    "time": "2024-01-15T10:30:00Z",
    "subject": "player-12345",
    "datacontenttype": "application/json",
    "data": {"transaction_id": "tx_554433", "amount": 5.00, "currency": "EUR", "game_type": "slot"},
}


class CloudEvent(Open):
    """An event; any further attribute is an extension: lower-case letters and digits, its value no object or array."""

    model_config = ConfigDict(json_schema_extra={"examples": [SAMPLE]})

    specversion: Literal["1.0"] = Field(description="Version of CloudEvents")
    id: Name = Field(description="Identifier of the event, unique in its source")
    source: Name = Field(description="Where it happened: a URI reference")
    type: Name = Field(description="What happened")
    time: Rfc3339 | None = None
    subject: Name | None = Field(None, description="Of whom it tells: the player, unless data names one")
    datacontenttype: Name | None = Field(None, description="Media type of data")
    dataschema: Name | None = Field(None, description="URI of the schema of data")
    data: Any = Field(None, description="Any JSON; of an object, columns are filled")
    data_base64: str | None = Field(None, description="Instead of data: bytes in Base64")


SHAPE = Shape(CloudEvent)
DATA = FreeForm(
    player_id=("player_id", "user_id", "customer_id"),
    device_id=("device_id",),
    amount=("amount", "value"),
    campaign=("campaign_id",),
)
ATTRIBUTES = ("specversion", "id", "source", "datacontenttype", "dataschema")
"""Attributes without a column."""

_extension = re.compile("[a-z0-9]+").fullmatch
_of_body = re.compile(r"data(contenttype)?(\W|$)").match
_LOWER = "must be named in lower-case letters and digits"
_control = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search


def read(value: dict[str, Any], received_at: int) -> Draft:
    """An event in the JSON format as canonical columns, with its faults."""
    event, faults = SHAPE.read(value)
    extensions = {name: item for name, item in (event.__pydantic_extra__ or {}).items() if item is not None}
    faults += _rules(event, extensions, received_at)
    if faults:
        return Draft({}, {}, faults)
    columns: dict[str, Any] = {"event_name": event.type}
    if event.time is not None:
        columns["event_time"] = event.time
    left = {name: text for name in ATTRIBUTES if (text := getattr(event, name)) is not None}
    if isinstance(event.data, dict):
        rest = DATA.take(event.data, columns, received_at)
    else:
        rest = {name: value[name] for name in ("data", "data_base64") if value.get(name) is not None}
    if event.subject is not None and "player_id" in columns:
        left["subject"] = event.subject
    elif event.subject is not None:
        columns["player_id"] = event.subject
    return Draft(columns, beside(rest, {**left, **extensions}), key=("event", event.source, event.id))


def _rules(event: CloudEvent, extensions: Mapping[str, Any], received_at: int) -> list[Fault]:
    faults = []
    if event.time is not None and (wrong := values.ahead(event.time, received_at)):
        faults.append(Fault("time", wrong))
    if event.data_base64 is not None:
        if event.data is not None:
            faults.append(Fault("data_base64", "excludes data: send one of them"))
        try:
            base64.b64decode(event.data_base64, validate=True)
        except (binascii.Error, ValueError):
            faults.append(Fault("data_base64", "must be Base64"))
    for name, item in extensions.items():
        if not _extension(name):
            faults.append(Fault(name[:PATH], _LOWER))
        elif not isinstance(item, str | bool | Number):
            faults.append(Fault(name[:PATH], "must be a text, a number, true or false"))
    return faults


def ingest(request: Request) -> Accepted:
    """POST /cloudevents in the mode that Content-Type says."""
    drafts = Drafts.of(request, NAME)
    content_type = request.headers.get("content-type") or "application/json"
    media_type = content_type.split(";", 1)[0].strip().lower()
    if media_type == "application/cloudevents+json":
        return _answer(drafts, [drafts.one(jsontext.read(request.body), read)])
    if media_type == "application/cloudevents-batch+json":
        return _answer(drafts, drafts.all(jsontext.read_array(request.body, BATCH), read))
    if media_type.startswith("application/cloudevents"):
        message = "of CloudEvents only application/cloudevents+json and application/cloudevents-batch+json are taken"
        raise Refusal(415, message, [Fault("Content-Type", message)])
    return _answer(drafts, [_binary(drafts, content_type, media_type)])


def _answer(drafts: Drafts, events: Sequence[Event]) -> Accepted:
    return drafts.accepted(202, {"accepted": len(events), "event_ids": ids(events)}, events)


def _binary(drafts: Drafts, content_type: str, media_type: str) -> Event:
    """The event whose attributes are headers and whose data is the body. Raises Refusal."""
    request = drafts.request
    value, faults = _attributes(request.headers)
    piece = Piece(value, request.body)
    if not content_type.isprintable():
        faults.append(Fault("Content-Type", "must be printable"))
    elif request.body:
        value["datacontenttype"] = content_type
        if media_type.endswith(("/json", "+json")):
            data = jsontext.read(request.body)
            value["data"], piece.raw = data.value, data.raw
            piece.faults = [Fault(under("data", fault.field), fault.message) for fault in data.faults]
        else:
            value["data_base64"] = base64.b64encode(request.body).decode()
    draft = drafts.draft(piece, read)
    for fault in draft.faults:
        if not _of_body(fault.field):
            fault.field = f"ce-{fault.field}"
    named = {fault.field for fault in faults}
    drafts.faults = faults + [fault for fault in drafts.faults if fault.field not in named]
    drafts.refuse_faults()
    return drafts.event(piece, draft)


def _attributes(headers: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """The ``ce-`` headers as attributes, unquoted and percent-decoded (HTTP binding, 3.1.3.2)."""
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for header, text in headers.items():
        if not header.startswith("ce-"):
            continue
        name, decoded = header[3:], _decoded(text)
        if name in ("datacontenttype", "data"):
            faults.append(Fault(header, "must not be sent: Content-Type and the body say it"))
        elif not _extension(name):
            faults.append(Fault(ascii(header)[1:-1][:PATH], _LOWER))
        elif decoded is None:
            faults.append(Fault(header, "must be printable, or UTF-8 in percent-encoding"))
        else:
            found[name] = decoded
    return found, faults


def _decoded(text: str) -> str | None:
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    try:
        decoded = unquote_to_bytes(text.encode("ascii")).decode()
    except UnicodeError:
        return None
    return None if _control(decoded) else decoded


DIALECT = Dialect(
    NAME,
    routes=(
        Route(
            "POST",
            "/cloudevents",
            ingest,
            summary="CloudEvents 1.0: binary, structured or batch mode",
            body={"anyOf": [schema(CloudEvent), array_of(CloudEvent, BATCH), {"description": "data, in binary mode"}]},
            answers={202: schema(Counted)},
            example=SAMPLE,
            headers={
                "Content-Type": "application/cloudevents+json, application/cloudevents-batch+json, or that of the data",
                "ce-specversion": "Binary mode: 1.0; likewise ce-id, ce-source, ce-type and every other attribute",
                **IDEMPOTENCY_KEY,
            },
            media_type="application/cloudevents+json",
            any_media_type=True,
        ),
    ),
    limit=1000,
    refusals=(400, 401, 415, 429),
)
