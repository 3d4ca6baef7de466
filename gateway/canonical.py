"""Canonical JSON and what is made of it: RFC 8785 order, numbers as the digits sent.

RFC 8785 sorts keys by UTF-16 code units, orjson by UTF-8 bytes. Both are the same order unless a key has a character
beyond the BMP, so orjson does it, and where such a character stands anywhere the keys are sorted here.
"""

import re
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson

from gateway.values import Number, magnitude

_beyond_bmp = re.compile(rb"[\xf0-\xf4]").search
_as_sent = orjson.Fragment


def canonical(value: Any) -> bytes:
    """Canonical JSON of what jsontext read without a fault."""
    out = orjson.dumps(value, _as_sent, orjson.OPT_SORT_KEYS)
    if out.isascii() or not _beyond_bmp(out):
        return out
    return orjson.dumps(_sorted(value), _as_sent)


def _sorted(value: Any) -> Any:
    """The value with every object's keys in the order of their UTF-16 code units. As deep as jsontext allows."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=lambda key: key.encode("utf-16-be"))}
    if isinstance(value, list):
        return [_sorted(item) for item in value]
    return value


@lru_cache(1024)
def scope(dialect: str, route: str, campaign: str | None) -> bytes:
    """What the fingerprints of a request's events have in common."""
    return canonical([dialect, route, campaign])[:-1] + b","


def fingerprint(scope: bytes, event: bytes) -> bytes:
    """SHA-256, cut to 16 bytes, over the canonical JSON of dialect, route, campaign header and event (semantics.md)."""
    return sha256(scope + event + b"]").digest()[:16]


def properties(found: dict[str, Any]) -> str:
    """JSON object for the column of that name: digits as sent.

    A number beyond a binary float (1e308 and more) is written as the text of its digits, since ClickHouse's JSON
    type refuses the whole row for it.
    """
    return orjson.dumps(found, _storable).decode() if found else "{}"


def _storable(digits: Number) -> orjson.Fragment | str:
    if len(digits) <= 300 and b"e" not in digits and b"E" not in digits:
        return orjson.Fragment(digits)
    return orjson.Fragment(digits) if magnitude(digits) <= 308 else digits.decode()
