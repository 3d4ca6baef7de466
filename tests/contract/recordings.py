"""Recorded requests: what a vendor's client sends, what it is answered, and the canonical events that come of it.

A recording is a JSON file in the folder of its dialect:

    {"of":      where it comes from and what it shows,
     "given":   [{"request": ..., "keep": {"name": "field of the answer"}}, ...]   requests sent before, optional
     "request": {"method", "path", "headers"?, and one of "json", "body" (text), "base64"},
     "answer":  {"status", "body"?},
     "events":  [canonical fields that are not null, ...]}

Amounts are plain decimals and times ISO 8601. Tokens stand for what a recording cannot know:

    {{tenant}}, {{name}}   the key's workspace; what an earlier answer was kept as
    {{uuid name}}          any UUID, the same one wherever the name stands again
    {{now}}                the time of receipt
    {{ms:+25h}} {{s:-2h}} {{iso:+23h}}   hours from now; as the only content of a JSON text, a number

The same recordings are played to the dialects' handlers (test_recordings.py) and over HTTP to a running gateway: hand
``play`` a function that sends one request. Give each recording a workspace of its own, or keys of one meet another's.
"""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from schemas.money import from_bytes, to_decimal

FOLDER = Path(__file__).parent
AMOUNTS = ("amount", "bet_result_amount")
TIMES = ("event_time", "received_at")
UNRECORDED = ("fingerprint", "payload", "received_at", "tenant", "dialect")
"""Fields that follow from the request; the suite checks them by rule."""


class Digits(str):
    """A JSON number that is no plain integer of 64 bits, as it was written."""

    __slots__ = ()


@dataclass(frozen=True)
class Sent:
    """One HTTP request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What it was answered."""

    status: int
    body: bytes


Send = Callable[[Sent], Awaitable[Reply]]


@dataclass(frozen=True)
class Recording:
    """One file."""

    dialect: str
    name: str
    of: str
    request: dict[str, Any]
    answer: dict[str, Any]
    events: list[dict[str, Any]]
    given: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{self.dialect}/{self.name}"


@dataclass
class Scene:
    """What the tokens of one play stand for."""

    tenant: str
    now: int
    """Milliseconds of the epoch when the request was sent."""
    tolerance: int = 0
    """Milliseconds by which the gateway's clock may differ."""
    names: dict[str, str] = field(default_factory=dict)


def load(dialect: str | None = None) -> list[Recording]:
    """All recordings, or those of a dialect, in the order of their names."""
    return [_read(path) for path in sorted(FOLDER.glob(f"{dialect or '*'}/*.json"))]


def _read(path: Path) -> Recording:
    found = loads(path.read_text())
    return Recording(
        path.parent.name,
        path.stem,
        found["of"],
        found["request"],
        found["answer"],
        found.get("events", []),
        found.get("given", []),
    )


def loads(text: str | bytes) -> Any:
    """JSON with the digits of its numbers kept."""
    return json.loads(
        text, parse_float=Digits, parse_int=lambda digits: Digits(digits) if len(digits) > 18 else int(digits)
    )


def dumps(value: Any) -> bytes:
    """JSON with the digits of its numbers as they were read."""
    return orjson.dumps(value, lambda digits: orjson.Fragment(str(digits)), orjson.OPT_PASSTHROUGH_SUBCLASS)


async def play(recording: Recording, send: Send, scene: Scene) -> Sent:
    """Sends what is given and the request; asserts the recorded answer. Returns the request as it was sent."""
    for step in recording.given:
        reply = await send(sent(step["request"], scene))
        assert reply.status < 300, f"{recording}: given {step} was answered {reply}"
        answer = json.loads(reply.body)
        scene.names |= {name: answer[key] for name, key in step.get("keep", {}).items()}
    request = sent(recording.request, scene)
    reply = await send(request)
    assert reply.status == recording.answer["status"], f"{recording}: {reply}"
    if "body" in recording.answer:
        differences = list(compare(recording.answer["body"], loads(reply.body), scene, "answer"))
        assert not differences, f"{recording}: {differences}"
    return request


def sent(request: dict[str, Any], scene: Scene) -> Sent:
    """The request with its tokens filled in."""
    headers = {name: _filled(value, scene) for name, value in request.get("headers", {}).items()}
    if "json" in request:
        body = _filled(dumps(request["json"]).decode(), scene).encode()
    elif "base64" in request:
        body = base64.b64decode(request["base64"])
    else:
        body = _filled(request.get("body", ""), scene).encode()
    return Sent(request["method"], _filled(request["path"], scene), headers, body)


_clock = re.compile(r'"?\{\{(ms|s):([+-]\d+)h\}\}"?')
_iso = re.compile(r"\{\{iso:([+-]\d+)h\}\}")
_name = re.compile(r"\{\{(\w+)\}\}")


def _filled(text: str, scene: Scene) -> str:
    now = datetime.fromtimestamp(scene.now / 1000, UTC)
    text = _clock.sub(lambda m: str((scene.now + int(m[2]) * 3_600_000) // (1000 if m[1] == "s" else 1)), text)
    text = _iso.sub(lambda m: (now + timedelta(hours=int(m[1]))).isoformat(), text)
    return _name.sub(lambda m: scene.tenant if m[1] == "tenant" else scene.names[m[1]], text)


def readable(event: dict[str, Any]) -> dict[str, Any]:
    """A canonical event as recordings have it: without nulls, for people to read."""
    found = {name: value for name, value in event.items() if value is not None}
    found["event_id"] = str(UUID(bytes=found["event_id"]))
    found["properties"] = loads(found["properties"])
    for name in TIMES:
        time = datetime.fromtimestamp(found[name] / 1000, UTC)
        found[name] = time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for name in AMOUNTS:
        if name in found:
            found[name] = _plain(to_decimal(from_bytes(found[name])))
    return found


def _plain(amount: Decimal) -> str:
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def check_events(recording: Recording, events: Sequence[dict[str, Any]], scene: Scene) -> None:
    """Asserts the recorded canonical events; ``events`` are the records, in the order sent."""
    assert len(events) == len(recording.events), f"{recording}: {len(events)} events"
    for index, (expected, event) in enumerate(zip(recording.events, events, strict=True)):
        actual = {name: value for name, value in readable(event).items() if name not in UNRECORDED}
        differences = list(compare(expected, actual, scene, f"event {index}"))
        assert not differences, f"{recording}: {differences}"


def compare(expected: Any, actual: Any, scene: Scene, path: str) -> Iterator[str]:
    """What differs, each difference with its path."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in expected.keys() | actual.keys():
            if name not in expected or name not in actual:
                yield f"{path}.{name} is {'missing' if name in expected else f'too much: {actual[name]!r}'}"
            else:
                yield from compare(expected[name], actual[name], scene, f"{path}.{name}")
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{path} has {len(actual)} items, not {len(expected)}"
        for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from compare(one, other, scene, f"{path}[{index}]")
    elif isinstance(expected, str) and _clock.fullmatch(expected):
        if actual != (number := int(_filled(expected, scene))):
            yield f"{path} is {actual!r}, not {number}"
    elif isinstance(expected, str) and not isinstance(expected, Digits):
        if not isinstance(actual, str) or isinstance(actual, Digits) or not _same_text(expected, actual, scene):
            yield f"{path} is {actual!r}, not {expected!r}"
    elif type(expected) is not type(actual) or expected != actual:
        yield f"{path} is {actual!r}, not {expected!r}"


def _same_text(expected: str, actual: str, scene: Scene) -> bool:
    if expected == "{{now}}":
        time = datetime.fromisoformat(actual)
        return abs(time.timestamp() * 1000 - scene.now) <= scene.tolerance
    named = re.fullmatch(r"\{\{uuid (\w+)\}\}", expected)
    if named:
        return str(UUID(actual)) == actual == scene.names.setdefault(named[1], actual)
    return _filled(expected, scene) == actual
