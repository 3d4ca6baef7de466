"""JSON that ClickHouse's JSON type takes: a number that no Float64 holds is stored as text.

Any JSON that the gateway accepts must be storable, or a sender could keep his own events out of the table. ClickHouse
itself stores as text an integer beyond 64 bits; a number beyond 1.8e308 it refuses.
"""

import json
import math
import re
from collections.abc import Iterable

_PERHAPS = re.compile(rb"[eE]\+?\d{3}|\d{200}").search
"""Any number of 1e299 or more matches; texts that match for another reason are only written again."""
_DIGITS = 300
"""An integer of up to so many digits is a Float64; Python refuses to print those of more than 4,300."""


def storable(texts: Iterable[bytes]) -> list[bytes]:
    """Each JSON text as it can be stored; nearly all stay what they are."""
    return [_tamed(text) if _PERHAPS(text) else text for text in texts]


def _tamed(text: bytes) -> bytes:
    value = json.loads(text, parse_float=_number, parse_int=_integer)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _number(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _DIGITS else digits
