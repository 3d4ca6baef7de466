"""Strict JSON (RFC 8259 and nothing else): numbers as the digits sent, and the exact bytes of each event.

The scanner is the C one of the standard library. It keeps what a binary float or an ``int`` would change or choke on:
a number is a ``Number``, whatever its size. What it accepts but we do not (a key twice, NaN, half a surrogate pair,
U+0000, too deep) is found on a second, slower look at that one event alone, which names each place.

U+0000 is refused: PostgreSQL and C readers behind the warehouse cut or reject such a text, and none of the vendors'
fields has a use for it.

Errors: Malformed where the body is no JSON at all, Refusal where it is not of the shape that was asked for. Faults
inside an event are returned with it, so that they are told together with those of its fields.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any, NoReturn

import orjson

from gateway.canonical import canonical
from gateway.dialects.base import Fault, Malformed, Refusal
from gateway.flaws import DEPTH, FLAWS, TOO_DEEP, TWICE, Constant, Flaws, cleaned, marked_object, under
from gateway.values import Number


@dataclass(slots=True)
class Piece:
    """One JSON value of a body."""

    value: Any
    raw: bytes
    """The exact bytes, without the white space around them."""
    canonical: bytes | None = None
    """Its canonical JSON, where that was needed to judge it."""
    faults: Sequence[Fault] = ()
    """What is wrong in it; ``value`` is then a mended copy, fit to find what else is wrong."""
    malformed: bool = False
    """It has a NaN or an Infinity, so it is no JSON in the strict sense."""


@dataclass(slots=True)
class Batch:
    """The events of a body, and what is wrong around them."""

    pieces: list[Piece]
    faults: list[Fault] = field(default_factory=list)
    malformed: bool = False


class _Flaw(Exception):  # noqa: N818 - a signal between the hooks and _element, never seen outside
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Flaw
    return found


def _no_constant(_: str) -> NoReturn:
    raise _Flaw


def _scanner(**hooks: Any) -> Any:
    return json.JSONDecoder(parse_int=_digits, parse_float=_digits, **hooks).scan_once  # type: ignore[attr-defined]


_digits: Callable[[str], Number] = str.encode
_scan_trusting = _scanner(parse_constant=_no_constant)
_scan = _scanner(object_pairs_hook=_object, parse_constant=_no_constant)
_scan_marked = _scanner(object_pairs_hook=marked_object, parse_constant=Constant)
_space = re.compile(r"[ \t\n\r]*").match
_root = re.compile(rb"[ \t\n\r]*(.?)", re.DOTALL).match


def root(body: bytes) -> bytes:
    """The first byte that is no white space: tells an array from an object."""
    found = _root(body)
    return found[1] if found else b""


def read(body: bytes) -> Piece:
    """The body as one value. Raises Malformed, Refusal."""
    text = _decode(body)
    at = _skip(text, 0)
    piece, at = _quickly(text, at, DEPTH) or _element(text, at, DEPTH)
    _end(text, at)
    return piece


def read_array(body: bytes, most: int) -> Batch:
    """The elements of the body, which is an array of at most ``most``. Raises Malformed, Refusal."""
    text = _decode(body)
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        read(body)  # first whether it is JSON at all
        raise _refused("must be an array of events")
    pieces, at = _array(text, at, DEPTH - 1, most)
    _end(text, at)
    return Batch(pieces, malformed=any(piece.malformed for piece in pieces))


def read_member(body: bytes, name: str, most: int) -> Batch:
    """The elements of the array ``name`` in the body, which is an object. Raises Malformed, Refusal."""
    text = _decode(body)
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        read(body)
        raise _refused(f'must be an object: {{"{name}": [...]}}')
    batch, found = Batch([]), None
    for key, value in _members(text, at, name, most, batch.faults):
        if key == name:
            found = value
        elif isinstance(value, Piece):
            batch.malformed |= value.malformed
            batch.faults += [Fault(under(key, fault.field), fault.message) for fault in value.faults]
    if isinstance(found, list):
        batch.pieces = found
        batch.malformed |= any(piece.malformed for piece in found)
    else:
        batch.faults.append(Fault(name, "is required" if found is None else "must be an array of events"))
    return batch


def _members(
    text: str, at: int, name: str, most: int, faults: list[Fault]
) -> Iterator[tuple[str, Piece | list[Piece]]]:
    """Key and value of each member of the object at ``at``; the array ``name`` is taken to pieces."""
    seen: set[str] = set()
    at = _skip(text, at + 1)
    if text[at : at + 1] == "}":
        _end(text, at + 1)
        return
    while True:
        if text[at : at + 1] != '"':
            raise _syntax("a key in double quotes is expected", text, at)
        key, at = _element(text, at, 1)
        faults += [Fault(under("", key.value), fault.message) for fault in key.faults]
        if key.value in seen:
            faults.append(Fault(under("", key.value), TWICE))
        seen.add(key.value)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise _syntax("':' is expected", text, at)
        at = _skip(text, at + 1)
        value: Piece | list[Piece]
        if key.value == name and text[at : at + 1] == "[":
            value, at = _array(text, at, DEPTH - 2, most)
        else:
            value, at = _element(text, at, DEPTH - 1)
        yield key.value, value
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            _end(text, at + 1)
            return
        if text[at : at + 1] != ",":
            raise _syntax("',' or '}' is expected", text, at)
        at = _skip(text, at + 1)


def _array(text: str, at: int, room: int, most: int) -> tuple[list[Piece], int]:
    """The elements of the array at ``at`` and the position behind it."""
    whole = _compact_array(text, at, room, most)
    if whole is not None:
        return whole
    pieces: list[Piece] = []
    at = _skip(text, at + 1)
    if text[at : at + 1] == "]":
        return pieces, at + 1
    while True:
        if len(pieces) == most:
            raise _refused(f"must have at most {most:,} events: send the others in another request")
        piece, at = _quickly(text, at, room) or _element(text, at, room, len(pieces))
        pieces.append(piece)
        at = _skip(text, at)
        mark = text[at : at + 1]
        if mark == "]":
            return pieces, at + 1
        if mark != ",":
            raise _syntax("',' or ']' is expected", text, at, len(pieces) - 1)
        at = _skip(text, at + 1)


def _compact_array(text: str, at: int, room: int, most: int) -> tuple[list[Piece], int] | None:
    """What `_array` returns, where the array is written as most programs write one and nothing is wrong; else None.

    It is when it is as long as the canonical JSON of its elements and a comma between each two. Nobody can write an
    element shorter than that, so then there is no white space, none of the escapes that nobody needs, and no key
    twice, since one would be missing; and where each element ends follows from the lengths.
    """
    if _SPACED in text[at : at + _BEGINNING]:
        return None
    try:
        values, end = _scan_trusting(text, at)
        if len(values) > most:
            return None
        found = [canonical(value) for value in values]
    except (_Flaw, StopIteration, ValueError, RecursionError, orjson.JSONEncodeError):
        return None
    body = text[at:end].encode()
    if len(body) != sum(map(len, found)) + max(len(found) - 1, 0) + 2 or _NUL in body:
        return None
    ends = list(accumulate([len(each) + 1 for each in found], initial=1))
    raws = [body[begin : behind - 1] for begin, behind in pairwise(ends)]
    if max([raw.count(b"{") for raw in raws], default=0) + body.count(b"[") - 1 > room:
        return None
    return list(map(Piece, values, raws, found)), end


_SPACED, _BEGINNING = '": ', 256
_NUL = b"\\u0000"


def _quickly(text: str, at: int, room: int) -> tuple[Piece, int] | None:
    """What `_element` returns, where plainly nothing is wrong; else None, for `_element` to look closely.

    A key that stands twice is not seen by the scanner, which is a third faster without a hook for every object. It is
    seen in the canonical JSON, which lacks the quotes of what was dropped; without a backslash no others are left out.
    """
    try:
        value, end = _scan_trusting(text, at)
    except (_Flaw, StopIteration, ValueError, RecursionError):
        return None
    raw = text[at:end].encode()
    if _BACKSLASH in raw or _deep(raw, room):
        return None
    found = canonical(value)
    if len(found) != len(raw) and found.count(b'"') != raw.count(b'"'):
        return None
    return Piece(value, raw, found), end


def _element(text: str, at: int, room: int, index: int | None = None) -> tuple[Piece, int]:
    """The value at ``at``, in which ``room`` more containers may be nested, and the position behind it."""
    flawed = False
    try:
        try:
            value, end = _scan(text, at)
        except _Flaw:
            flawed = True
            value, end = _scan_marked(text, at)
    except StopIteration as stop:
        raise _syntax("a value is expected", text, stop.value, index) from None
    except json.JSONDecodeError as error:
        raise _syntax(error.msg.removesuffix(" at").rstrip(": "), text, error.pos, index) from None
    except RecursionError:
        raise _refused(TOO_DEEP, index) from None
    raw = text[at:end].encode()
    if flawed or _suspicious(raw, room):
        flaws = Flaws(room)
        flaws.look(value)
        if flaws.faults:
            return Piece(cleaned(value, room), raw, None, flaws.faults[:FLAWS], flaws.malformed), end
    return Piece(value, raw), end


def _suspicious(raw: bytes, room: int) -> bool:
    """Whether a value may be too deep or have a bad text."""
    return _deep(raw, room) or (_BACKSLASH in raw and b"\\u" in raw)


def _deep(raw: bytes, room: int) -> bool:
    """Whether it may be too deep. Brackets inside texts count too, so most turn out fine.

    To ask for one byte costs a third of counting it.
    """
    return raw.count(b"{") + (raw.count(b"[") if _BRACKET in raw else 0) > room


_BRACKET, _BACKSLASH = b"[\\"


def _skip(text: str, at: int) -> int:
    """The next position that is no white space."""
    if text[at : at + 1] > " ":
        return at
    return _space(text, at).end()  # type: ignore[union-attr]


def _decode(body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"the body is not UTF-8: byte 0x{body[error.start]:02x} at position {error.start}") from None
    if text.startswith("\ufeff"):
        raise Malformed("the body begins with a byte order mark: send UTF-8 without one")
    return text


def _end(text: str, at: int) -> None:
    at = _skip(text, at)
    if at != len(text):
        raise _syntax("nothing more is expected", text, at)


def _syntax(what: str, text: str, at: int, index: int | None = None) -> Malformed:
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    place = f"line {line}, column {column}" if at < len(text) else "its end"
    message = f"the body is not JSON: {what[0].lower()}{what[1:]} at {place} (character {at})"
    return Malformed(message, [Fault("", message, index)])


def _refused(message: str, index: int | None = None) -> Refusal:
    return Refusal(
        400, message if message.startswith(("the", "at")) else f"the body {message}", [Fault("", message, index)]
    )
