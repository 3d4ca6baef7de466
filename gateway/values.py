"""Amounts and times, exact from the digits that were sent (spec/dialects.md).

Each reader takes what jsontext read, where a number is a ``Number``, and raises ValueError with what to mend.

Times lie between the years 1900 and 2299, which is what ClickHouse's DateTime64(3) holds; the upper end never shows,
since nothing may lie more than a day ahead.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.money import SCALE, to_bytes

Number = bytes
"""A JSON number: its digits as they were written. No other JSON value is read into this type."""
INTEGER_DIGITS = 20
AHEAD = 24 * 60 * 60 * 1000
"""How far ahead of the gateway's clock an event may lie, in milliseconds."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

_POWERS: list[int] = [10**n for n in range(2 * SCALE + INTEGER_DIGITS)]
_number = re.compile(rb"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?)([0-9]+))?").fullmatch
_EXPONENT = 7
"""Digits of an exponent above which no mantissa of a body within the limit (1 MiB) can make up for it."""


def _parts(digits: Number) -> tuple[bool, Number, int]:
    """(negative, mantissa, exponent) of value = mantissa × 10^exponent; the mantissa has no zeros at its ends.

    Zero has no digit in its mantissa. Digits only, never an int of the sender's size. Raises ValueError where it is no
    number.
    """
    found = _number(digits)
    if found is None:
        raise ValueError("must be a number, or a text of its digits")
    sign, whole, fraction, exponent_sign, exponent = found.groups(default=b"")
    mantissa = (whole + fraction).lstrip(b"0")
    if not mantissa:
        return False, b"", 0
    exponent = exponent.lstrip(b"0")
    shift = int(exponent or 0) if len(exponent) <= _EXPONENT else 10**_EXPONENT
    shift = (-shift if exponent_sign == b"-" else shift) - len(fraction)
    stripped = mantissa.rstrip(b"0")
    return sign == b"-", stripped, shift + len(mantissa) - len(stripped)


def magnitude(digits: Number) -> int:
    """How many digits the number has before its point: 3 for 123.4, 0 for 0.5, below 0 for less than 0.1."""
    _, mantissa, exponent = _parts(digits)
    return len(mantissa) + exponent if mantissa else 0


def amount(value: Any) -> int:
    """The unscaled int (18 places) of a JSON number or a text of digits."""
    if type(value) is Number:
        digits = value
    elif type(value) is not str or _number(digits := value.encode("ascii", "replace")) is None:
        raise ValueError("must be a number, or a text of its digits")
    if len(digits) <= INTEGER_DIGITS:  # so neither side of the point can be too long
        whole, _, fraction = digits.partition(b".")
        try:
            return int(whole + fraction) * _POWERS[SCALE - len(fraction)]
        except ValueError:
            pass  # an exponent
    return _exact(digits)


def _exact(digits: Number) -> int:
    negative, mantissa, exponent = _parts(digits)
    if len(mantissa) + exponent > INTEGER_DIGITS:
        raise ValueError(f"must have at most {INTEGER_DIGITS} digits before the decimal point")
    if exponent < -SCALE:
        raise ValueError(f"must have at most {SCALE} decimal places")
    unscaled: int = int(mantissa) * _POWERS[exponent + SCALE] if mantissa else 0
    return -unscaled if negative else unscaled


def amount_bytes(value: Any) -> bytes:
    """The same as Avro's decimal."""
    return to_bytes(amount(value))


def unix_time(value: Any) -> int:
    """Milliseconds of a numeric timestamp: 1e11 or more is milliseconds, less is seconds; cut below a millisecond."""
    if type(value) is not Number:
        raise ValueError("must be a number: a Unix timestamp in seconds or milliseconds")
    if len(value) <= 15 and value.isdigit():
        number = int(value)
        return number if number >= 10**11 else number * 1000
    negative, mantissa, exponent = _parts(value)
    if negative:
        raise ValueError("must not be negative")
    size = len(mantissa) + exponent
    if size > 15:
        raise ValueError(_AHEAD)
    if size < 12:
        exponent += 3
    return int(mantissa + b"0" * exponent) if exponent >= 0 else int(mantissa[:exponent] or 0)


_HOURS = r"(?:[01]\d|2[0-3])"  # of +24:00 fromisoformat says what only a programmer of Python understands
_ZONE = rf"(?:[Zz]|[+-]{_HOURS}(?::?[0-5]\d)?)?"  # fromisoformat would take +01:60
_iso = re.compile(
    rf"\d{{4}}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?{_ZONE})?"
    rf"|\d{{8}}[Tt]\d{{4}}(?:\d\d(?:[.,]\d+)?)?{_ZONE}",
    re.A,
)
_rfc3339 = re.compile(rf"\d{{4}}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]{_HOURS}:[0-5]\d)", re.A)


def iso_time(value: Any) -> int:
    """Milliseconds of an ISO 8601 date and time; UTC without an offset."""
    if type(value) is not str or not _iso.fullmatch(value):
        raise ValueError("must be a Unix timestamp or an ISO 8601 time such as 2024-01-15T10:30:00Z")
    return _milliseconds(value)


def any_time(value: Any) -> int:
    """Milliseconds of a numeric timestamp or an ISO 8601 text."""
    return unix_time(value) if type(value) is Number else iso_time(value)


def rfc3339_time(value: Any) -> int:
    """Milliseconds of an RFC 3339 date and time, whose offset is required."""
    if type(value) is not str or not _rfc3339.fullmatch(value):
        raise ValueError("must be an RFC 3339 time with an offset, such as 2024-01-15T10:30:00Z")
    return _milliseconds(value)


def _milliseconds(text: str) -> int:
    at = 17 if text[16:17] == ":" else 13  # where the seconds stand, in the extended form and in the basic one
    leap = text[at : at + 2] == "60"  # RFC 3339, 5.7: a month in UTC may end with a second more
    try:
        found = datetime.fromisoformat((f"{text[:at]}59{text[at + 2 :]}" if leap else text).upper())
    except ValueError as error:
        raise ValueError(f"is no time that exists: {error}") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    if found < EARLIEST:
        raise ValueError("must not lie before the year 1900")
    time = (found - EPOCH) // MILLISECOND
    return _behind_leap(time) if leap else time


def _behind_leap(time: int) -> int:
    """A leap second's place in Unix time, which has none for it: the first second of the next month."""
    try:
        behind = EPOCH + timedelta(seconds=time // 1000 + 1)
    except OverflowError:
        raise ValueError(_AHEAD) from None
    if (behind.day, behind.hour, behind.minute, behind.second) != (1, 0, 0, 0):
        raise ValueError("is no time that exists: a leap second stands behind the last second of a month in UTC")
    return time + 1000


_AHEAD = "must not lie more than 24 hours ahead"


def ahead(time: int, received_at: int) -> str | None:
    """What is wrong with a time that lies too far ahead."""
    return _AHEAD if time > received_at + AHEAD else None


def text(value: Any) -> str:
    """A text that is not empty."""
    if type(value) is not str or not value:
        raise ValueError("must be a text that is not empty")
    return value


def boolean(value: Any) -> bool:
    """true or false."""
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def bet_result(value: Any) -> str:
    """win or loss."""
    if value not in ("win", "loss"):
        raise ValueError("must be win or loss")
    return str(value)
