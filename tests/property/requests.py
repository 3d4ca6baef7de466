"""Hostile requests: recorded ones whose bodies, values and headers were changed at random."""

import json
from random import Random
from typing import Any

from tests.contract.recordings import Digits, Recording, Scene, Sent, dumps, load, loads, sent
from tests.property.json_texts import damage

RECORDINGS = load()
HUGE = "9" * 400
GARBAGE: tuple[Any, ...] = (
    None, True, False, "", " ", "0", "-1", "1e400", "NaN", "win", "2024-01-15T10:30:00Z", "é😀\u2028", "x" * 300,
    0, -1, 2**53, Digits("1e400"), Digits("-0"), Digits("1E-400"), Digits(HUGE), Digits("0." + HUGE),
    Digits("1e999999999999"), [], {}, [[]], [None], {"": ""}, {"a.b": 1, "a": {"b": 2}}, {"type": {}},
    {"timestamp": -1}, {"events": []}, {"id": 5},
)  # fmt: skip
NAMES = (
    "amount", "timestamp", "data", "payload", "type", "id", "user", "identifiers", "utm", "bet_result", "envelope",
    "properties", "event_name", "__class__", "model_config", "__pydantic_extra__", "", "\U0001f600", "\ufb33",
    "event_id",
)  # fmt: skip
HEADERS = (
    "Idempotency-Key",
    "X-Campaign-ID",
    "Content-Type",
    "ce-id",
    "ce-type",
    "ce-source",
    "ce-specversion",
    "ce-x",
    "ce-",
)
HEADER_VALUES = (
    "", "k", "k" * 5000, "\x00", "\ud800", "é", "%ff", "%00", '"', '"\\"', "1.0", "application/json; charset=utf-8",
    "application/cloudevents+json", "application/cloudevents-batch+json", "text/plain", ";", "a/b",
)  # fmt: skip


def hostile(random: Random, scene: Scene, recordings: list[Recording] = RECORDINGS) -> Sent:
    """One request."""
    request = sent(random.choice(recordings).request, scene)
    body, headers = request.body, dict(request.headers)
    way = random.random()
    if way < 0.55:
        body = _changed(body, random)
    elif way < 0.85:
        body = damage(body, random)
    elif way < 0.9:
        body = random.randbytes(random.randint(0, 80))
    if random.random() < 0.3:
        headers[random.choice(HEADERS)] = random.choice(HEADER_VALUES)
    return Sent(request.method, request.path, headers, body)


def _changed(body: bytes, random: Random) -> bytes:
    """Still JSON, but with other values, members more or members less."""
    try:
        value = loads(body)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return body
    for _ in range(random.randint(1, 4)):
        value = _change(value, random)
    try:
        return dumps(value)
    except TypeError:  # lone surrogates of the recording
        return json.dumps(value).encode()


def _change(value: Any, random: Random) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        way = random.random()
        if way < 0.6:
            return {**value, key: _change(value[key], random)}
        if way < 0.8:
            return {**value, random.choice(NAMES): random.choice(GARBAGE)}
        return {name: item for name, item in value.items() if name != key}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], _change(value[at], random), *value[at + random.randint(0, 1) :]]
    return random.choice(GARBAGE)
