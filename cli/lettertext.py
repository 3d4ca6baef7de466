"""Dead letters as they are printed: a line each, or one with its record, decoded where it can be."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from runtime.words import counted
from schemas import money
from schemas.codec import DecodeError
from schemas.keys import uuid_text
from schemas.topics import by_name

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
WIDTH = 100
"""Characters of an error in a list."""


def summary(letters: list[dict[str, Any]]) -> Iterator[str]:
    """Lines for a list."""
    for letter in letters:
        place = f"{letter['topic']}-{letter['partition']}@{letter['offset']}"
        when = letter["stored_at"].isoformat(sep=" ", timespec="seconds")
        again = f" after {counted(letter['attempts'], 'replay')}" if letter["attempts"] else ""
        yield f"{letter['letter_id']}  {when}  {letter['fate']:<9}  {letter['stage']}{again}  {place}"
        yield f"    {_plain(letter['error'])[:WIDTH]}"


def shown(letter: dict[str, Any]) -> dict[str, Any]:
    """A letter with its bytes as base64, and its record's fields where the bytes are one."""
    found = dict(letter)
    found["key"], found["payload"] = _base64(letter["key"]), _base64(letter["payload"])
    found["headers"] = [{"key": name, "value": _base64(value)} for name, value in letter["headers"]]
    found["record"] = _record(letter["topic"], letter["payload"])
    return found


def lines(letter: dict[str, Any]) -> Iterator[str]:
    """For people."""
    for name, value in letter.items():
        if name == "record" and value is not None:
            yield "record"
            yield from (f"    {field:<24}{_plain(inner)}" for field, inner in value.items() if inner is not None)
        elif value not in (None, "", []):
            yield f"{name:<18}{_plain(value)}"


def _record(topic: str, payload: bytes | None) -> dict[str, Any] | None:
    kind = known.value if (known := by_name().get(topic)) else None
    if kind is None or payload is None:
        return None
    try:
        record = kind.decode(payload)
    except DecodeError:
        return None
    return {field["name"]: _value(field["type"], record[field["name"]]) for field in kind.latest.source["fields"]}


def _value(kind: Any, value: Any) -> Any:
    """A value of an Avro type as people read it: amounts as decimals, times with their zone, hashes in hex."""
    if isinstance(kind, list):  # a union of null and one type
        return None if value is None else _value(next(one for one in kind if one != "null"), value)
    if not isinstance(kind, dict):
        return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
    match kind.get("logicalType", kind["type"]):
        case "decimal":
            return str(money.to_decimal(money.from_bytes(value)))
        case "timestamp-millis":
            return _time(value)
        case "uuid":
            return uuid_text(value)
        case "fixed":
            return value.hex()
        case "record":
            return {field["name"]: _value(field["type"], value[field["name"]]) for field in kind["fields"]}
        case "array":
            return [_value(kind["items"], one) for one in value]
        case "map":
            return {name: _value(kind["values"], one) for name, one in value.items()}
    return value


def _time(milliseconds: int) -> datetime | int:
    """The number itself where it is no time, as in a record that is not ours."""
    try:
        return EPOCH + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return milliseconds


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _plain(value: Any) -> str:
    text = orjson.dumps(value).decode() if isinstance(value, dict | list) else str(value)
    return text if text.isprintable() else repr(text)
