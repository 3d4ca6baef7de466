"""JSON that ClickHouse's JSON type takes, and that clients can read back.

Any JSON that the gateway accepts must be storable, or a sender could keep his own events out of the table. Two things
are not, as they come; both are rare, and mended here (payload keeps the exact bytes):

* A number that no Float64 holds is stored as text, as ClickHouse itself does with an integer beyond 64 bits.
* ClickHouse nests dotted keys. In ``{"a": 1, "a.b": 2}`` the path ``a`` would then be a value and an object at once:
  such a document's dotted keys are kept apart by writing their dots as ``%2E``.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

_LARGE = re.compile(rb"[eE]\+?\d{3}|\d{200}").search
"""Any number of 1e299 or more matches; texts that match for another reason are only written again."""
_STRINGS = re.compile(rb'"((?:[^"\\]|\\.)*+)"\s*+(:?)').finditer
"""Every string, each once, so that the time is linear; a colon behind it makes it a key."""
_SUSPECTED = (
    r"[:,\[]\s*-?[\d.]*(?:[eE]\+?\d{3}|\d{200})"  # a number that _LARGE finds
    r'|(?:\.|\\u002[eE])(?:[^"\\]|\\.)*"\s*:'  # a key with a dot
)
_DIGITS = 300
"""An integer of up to so many digits is a Float64; Python refuses to print those of more than 4,300."""
Path = tuple[str, ...]


def storable(texts: Iterable[bytes]) -> list[bytes]:
    """Each JSON text as it can be stored; nearly all stay what they are."""
    return [_tamed(text) if _LARGE(text) or _has_dotted_key(text) else text for text in texts]


def suspected(name: str) -> str:
    """The condition in SQL under which ``storable`` has to look at a text, or a little more often."""
    pattern = _SUSPECTED.replace("\\", "\\\\")
    return f"match({name}, '{pattern}')"


def _has_dotted_key(text: bytes) -> bool:
    if b"." not in text and rb"\u002" not in text:
        return False
    return any(found[2] and (b"." in found[1] or rb"\u002" in found[1]) for found in _STRINGS(text))


def _tamed(text: bytes) -> bytes:
    value = json.loads(text, parse_float=_number, parse_int=_integer)
    if _collides(value):
        value = _escaped(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _number(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits


def _collides(value: Any) -> bool:
    """Whether two paths of an object are the same once dotted keys are nested, or one is within the other."""
    if isinstance(value, list):
        return any(map(_collides, value))
    if not isinstance(value, dict):
        return False
    leaves = sorted(_leaves(value, ()), key=lambda leaf: leaf[0])
    if any(longer[: len(shorter)] == shorter for (shorter, _), (longer, _) in pairwise(leaves)):
        return True
    return any(_collides(leaf) for _, leaf in leaves if isinstance(leaf, list))


def _leaves(value: dict[str, Any], path: Path) -> Iterator[tuple[Path, Any]]:
    for key, inner in value.items():
        at = (*path, *key.split("."))
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, at)
        else:
            yield at, inner


def _escaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    if isinstance(value, dict):
        return {key.replace(".", "%2E"): _escaped(inner) for key, inner in value.items()}
    return value
