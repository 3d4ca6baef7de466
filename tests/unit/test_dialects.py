"""What the dialects say of themselves agrees with what they do."""

import asyncio
import importlib
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema_rs import validator_for

from gateway import jsontext, values
from gateway.dialects import registry
from gateway.dialects.base import Dialect, Refusal, Request, Route
from tests.contract.players import Handlers, MemoryRegistry
from tests.contract.recordings import Recording, Scene, Sent, load, sent

DIALECTS = registry.load(MemoryRegistry())
ROUTES = [(dialect, route) for dialect in DIALECTS for route in dialect.routes]
LIMITS = {
    "absinthe": 1000,
    "gamerebellion": {"free": 100, "pro": 1000, "enterprise": None},
    "scrip": 1000,
    "revosurge": 60,
    "adwize": 1000,
    "cloudevents": 1000,
}


def named(value: Any) -> str:
    return value.name if isinstance(value, Dialect) else f"{value.method} {value.path}"


def test_limits_and_statuses_are_the_documents() -> None:
    assert {dialect.name: dialect.limit for dialect in DIALECTS} == LIMITS
    assert {dialect.name for dialect in DIALECTS if dialect.forbidden == 403} == {"absinthe", "gamerebellion"}
    assert {dialect.name for dialect in DIALECTS if dialect.unavailable == 500} == {"gamerebellion", "revosurge"}
    assert tuple(dialect.name for dialect in DIALECTS) == registry.NAMES


@pytest.mark.parametrize(("dialect", "route"), ROUTES, ids=named)
def test_a_route_describes_itself(dialect: Dialect, route: Route) -> None:
    assert route.summary
    assert route.answers
    for schema in [*route.answers.values(), *([route.body] if route.body else [])]:
        validator_for(dict(schema))
        assert "$ref" not in orjson.dumps(schema).decode()
    if route.body is not None:
        validator_for(dict(route.body)).validate(route.example)


@pytest.mark.parametrize(("dialect", "route"), [pair for pair in ROUTES if pair[1].body], ids=named)
def test_the_example_is_accepted(dialect: Dialect, route: Route) -> None:
    handlers = Handlers()
    registration = Sent("POST", "/events", {}, b'{"name":"x"}')
    event_id = orjson.loads(asyncio.run(handlers.send(registration)).body)["event_id"]
    headers = {"Content-Type": "application/cloudevents+json"} if dialect.name == "cloudevents" else {}
    request = Sent(route.method, route.path.replace("{event_id}", event_id), headers, orjson.dumps(route.example))
    assert asyncio.run(handlers.send(request)).status in route.answers


def accepted_recordings() -> list[Recording]:
    return [r for r in load() if r.answer["status"] < 300 and "json" in r.request and r.dialect != "cloudevents"]


@pytest.mark.parametrize("recording", accepted_recordings(), ids=str)
def test_what_is_accepted_fits_the_schema(recording: Recording) -> None:
    scene = Scene("acme", Handlers().now, names={"registered": "0"})
    request = sent(recording.request, scene)
    dialect = next(dialect for dialect in DIALECTS if dialect.name == recording.dialect)
    path = re.sub(r"/events/(?!data)[^/]+/data", "/events/{event_id}/data", request.path)
    route = next(r for r in dialect.routes if (r.method, r.path) == (request.method, path))
    if route.body is not None:
        validator_for(dict(route.body)).validate(json.loads(request.body))


def test_the_dialect_in_the_docs_works() -> None:
    text = (Path(__file__).parents[2] / "docs" / "dialects.md").read_text()
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found
    names: dict[str, Any] = {}
    for module in ("base", "drafts", "freeform", "shape"):
        package = "gateway.dialects" if module == "base" else "gateway"
        names |= vars(importlib.import_module(f"{package}.{module}"))
    names |= {"Any": Any, "jsontext": jsontext, "values": values}
    exec(textwrap.dedent("   " + found[1].lstrip()), names)
    body = b'{"who":"p","at":1,"info":{"amount":5,"campaign_id":"c","x":1.0},"y":2}'
    event = names["ping"](Request("POST /ping", {}, {}, body, "acme", Handlers().now)).events[0]
    assert (event["player_id"], event["campaign"], event["event_time"]) == ("p", "c", 1000)
    assert event["properties"] == '{"x":1.0,"y":2}'
    with pytest.raises(Refusal) as caught:
        names["ping"](Request("POST /ping", {}, {}, b'{"at":"2100-01-01"}', "acme", Handlers().now))
    assert [fault.field for fault in caught.value.faults] == ["who", "info", "at"]
