"""JSON by the letter, slow and plain: RFC 8259 as a recursive descent, RFC 8785 as a recursion over the value.

Written from the two documents, without the standard library's json, to hold gateway.jsontext and gateway.canonical
against. Raises Wrong for what Sluice refuses.
"""

import re
from typing import Any

from gateway.flaws import DEPTH
from gateway.values import Number

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class Wrong(ValueError):  # noqa: N818 - short, for many raises
    """No JSON that Sluice takes."""


def parse(body: bytes) -> Any:
    """The value of a whole body."""
    try:
        text = body.decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise Wrong("not UTF-8") from None
    value, at = _value(text, _space(text, 0), 1)
    if _space(text, at) != len(text):
        raise Wrong("more behind the value")
    return value


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\n\r":
        at += 1
    return at


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    for word, value in (("true", True), ("false", False), ("null", None)):
        if text.startswith(word, at):
            return value, at + len(word)
    if text.startswith('"', at):
        return _text(text, at + 1)
    number = NUMBER.match(text, at)
    if number:
        return number[0].encode(), number.end()
    if text[at : at + 1] not in ("[", "{"):
        raise Wrong("no value")
    if depth > DEPTH:
        raise Wrong("too deep")
    return _array(text, at + 1, depth) if text[at] == "[" else _object(text, at + 1, depth)


def _array(text: str, at: int, depth: int) -> tuple[Any, int]:
    items: list[Any] = []
    at = _space(text, at)
    if text.startswith("]", at):
        return items, at + 1
    while True:
        item, at = _value(text, _space(text, at), depth + 1)
        items.append(item)
        at = _space(text, at)
        if text.startswith("]", at):
            return items, at + 1
        if not text.startswith(",", at):
            raise Wrong("no comma")
        at += 1


def _object(text: str, at: int, depth: int) -> tuple[Any, int]:
    members: dict[str, Any] = {}
    at = _space(text, at)
    if text.startswith("}", at):
        return members, at + 1
    while True:
        at = _space(text, at)
        if not text.startswith('"', at):
            raise Wrong("no key")
        key, at = _text(text, at + 1)
        at = _space(text, at)
        if not text.startswith(":", at):
            raise Wrong("no colon")
        item, at = _value(text, _space(text, at + 1), depth + 1)
        if key in members:
            raise Wrong("a key twice")
        members[key] = item
        at = _space(text, at)
        if text.startswith("}", at):
            return members, at + 1
        if not text.startswith(",", at):
            raise Wrong("no comma")
        at += 1


def _text(text: str, at: int) -> tuple[str, int]:
    units: list[int] = []  # of UTF-16, where pairs of escapes come together by themselves
    while True:
        char = text[at : at + 1]
        if char == "" or char < " ":
            raise Wrong("an open text")
        if char == '"':
            break
        if char != "\\":
            encoded = char.encode("utf-16-be")
            units += [int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2)]
            at += 1
        elif text[at + 1 : at + 2] == "u":
            digits = text[at + 2 : at + 6]
            if not re.fullmatch("[0-9a-fA-F]{4}", digits):
                raise Wrong("no escape")
            units.append(int(digits, 16))
            at += 6
        elif text[at + 1 : at + 2] in ESCAPES:
            units.append(ord(ESCAPES[text[at + 1]]))
            at += 2
        else:
            raise Wrong("no escape")
    try:
        found = b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be")
    except UnicodeDecodeError:
        raise Wrong("half of a surrogate pair") from None
    if "\0" in found:
        raise Wrong("U+0000")
    return found, at + 1


def canonical(value: Any) -> str:
    """RFC 8785, but for numbers: these are as they were sent."""
    match value:
        case None:
            return "null"
        case True:
            return "true"
        case False:
            return "false"
        case Number():
            return value.decode()
        case str():
            return '"' + "".join(map(_escaped, value)) + '"'
        case list():
            return "[" + ",".join(map(canonical, value)) + "]"
        case dict():
            keys = sorted(value, key=_utf16)
            return "{" + ",".join(f"{canonical(key)}:{canonical(value[key])}" for key in keys) + "}"
    raise TypeError(type(value))


def _utf16(text: str) -> list[int]:
    encoded = text.encode("utf-16-be")
    return [int.from_bytes(encoded[i : i + 2], "big") for i in range(0, len(encoded), 2)]


def _escaped(char: str) -> str:
    short = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
    return short.get(char) or (f"\\u{ord(char):04x}" if char < " " else char)
