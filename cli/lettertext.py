"""Dead letters as they are printed: a line each, or one with its record, decoded where it can be."""

import base64
from collections.abc import Iterator
from typing import Any

from runtime.words import counted
from schemas import money
from schemas.codec import DecodeError
from schemas.keys import uuid_text
from schemas.topics import by_name

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
    amounts = {field["name"] for field in kind.latest.source["fields"] if "decimal" in str(field["type"])}
    return {name: _value(name, value, name in amounts) for name, value in record.items()}


def _value(name: str, value: Any, is_amount: bool) -> Any:
    if isinstance(value, bytes):
        if is_amount:
            return str(money.to_decimal(money.from_bytes(value)))
        return (
            uuid_text(value) if name.endswith("_id") and len(value) == 16 else value.decode(errors="backslashreplace")
        )
    return value


def _base64(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def _plain(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)
