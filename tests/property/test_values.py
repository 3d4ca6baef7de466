"""Amounts and times against exact arithmetic."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import values
from tests.property.json_texts import NUMBERS

T = TypeVar("T")
DAY = 24 * 60 * 60 * 1000


def lenient(read: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """The reader with None for a value that breaks its rule."""

    def read_or_none(value: Any) -> T | None:
        try:
            return read(value)
        except ValueError:
            return None

    return read_or_none


@st.composite
def plain_numbers(draw: st.DrawFn) -> str:
    """Numbers whose exponent a Fraction can bear, many of them near the limits."""
    sign = draw(st.sampled_from(["", "-"]))
    whole = draw(st.text("0123456789", min_size=1, max_size=24)).lstrip("0") or "0"
    fraction = draw(st.just("") | st.text("0123456789", min_size=1, max_size=24).map(lambda d: f".{d}"))
    zeros = draw(st.sampled_from(["", "0" * 30])) if fraction else ""
    exponent = draw(st.just("") | st.integers(-45, 45).map(lambda n: f"e{n:+d}"))
    return sign + whole + fraction + zeros + exponent


def exact_amount(digits: str) -> int | None:
    """The unscaled amount by the rule's own words; None where it is refused."""
    with localcontext(prec=200):
        number = Decimal(digits)
        scaled = Fraction(number) * 10**18
        fits = scaled.denominator == 1 and abs(number) < 10**20
        return int(scaled) if fits else None


@given(plain_numbers())
@settings(max_examples=800, deadline=None)
def test_amounts_are_exact(digits: str) -> None:
    expected = exact_amount(digits)
    for value in (digits.encode(), digits):
        if expected is None:
            with pytest.raises(ValueError, match="must have at most"):
                values.amount(value)
        else:
            assert values.amount(value) == expected


@given(NUMBERS)
@settings(max_examples=800, deadline=None)
def test_no_number_is_too_much(digits: str) -> None:
    amount = lenient(values.amount)(digits.encode())
    assert amount is None or abs(amount) < 10**38
    time = lenient(values.unix_time)(digits.encode())
    assert time is None or 0 <= time < 10**16
    assert isinstance(values.magnitude(digits.encode()), int)


@given(st.text(max_size=12) | st.text("0123456789.eE+- _", max_size=12))
@settings(max_examples=800, deadline=None)
def test_an_amount_in_a_text_is_digits(text: str) -> None:
    amount = lenient(values.amount)(text)
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text, re.ASCII):
        assert amount is None
    elif len(text) < 8:  # else the exponent may be beyond what a Fraction can bear
        assert amount == exact_amount(text)


@pytest.mark.parametrize(
    "value", [True, False, None, [], {}, "", " 5", "5 ", "+5", ".5", "5.", "1_0", "٣", "NaN", "0x1"]
)
def test_no_amount(value: object) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        values.amount(value)


@given(plain_numbers())
@settings(max_examples=800, deadline=None)
def test_unix_times_are_cut_to_the_millisecond(digits: str) -> None:
    number = Fraction(Decimal(digits))
    time = lenient(values.unix_time)(digits.encode())
    if number < 0 or number >= 10**15:
        assert time is None
    else:
        assert time == int(number if number >= 10**11 else number * 1000)


ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(datetime(1900, 1, 2), datetime(2299, 12, 30), timezones=ZONES | st.just(UTC))  # noqa: DTZ001


@given(MOMENTS, st.sampled_from(["auto", "seconds", "milliseconds", "microseconds"]), st.sampled_from("Tt"))
@settings(max_examples=500, deadline=None)
def test_rfc_3339_times_are_exact(moment: datetime, precision: str, separator: str) -> None:
    text = moment.isoformat(timespec=precision).replace("T", separator)
    expected = (datetime.fromisoformat(text.upper()) - values.EPOCH) // timedelta(milliseconds=1)
    assert values.rfc3339_time(text) == values.iso_time(text) == expected
    if moment.utcoffset() == timedelta(0):
        assert values.rfc3339_time(text.replace("+00:00", "z")) == expected
        assert values.iso_time(text.replace("+00:00", "")) == expected


@given(st.text(max_size=30) | st.text("0123456789-:TZ.+ ", max_size=30))
@settings(max_examples=800, deadline=None)
def test_no_text_makes_more_than_a_value_error(text: str) -> None:
    for read in (values.iso_time, values.rfc3339_time):
        time = lenient(read)(text)
        assert time is None or -2_208_988_800_000 <= time < 10**15


@pytest.mark.parametrize(
    "text",
    ["2024-01-15T10:30:00", "2024-01-15", "2024-01-15T10:30Z", "2024-01-15T10:30:00+0530", "2024-01-15 10:30:00Z",
     "2024-02-30T10:30:00Z", "2024-01-15T10:30:00Z ", "2024-01-15T24:00:00Z", "1899-12-31T23:59:59Z",
     "20240115T103000Z", "1900-01-01T00:00:00+00:01", "2024-01-15T10:30:00+01:60", "2024-01-15T10:30:00,5Z",
     "٢٠٢٤-01-15T10:30:00Z"],
)  # fmt: skip
def test_no_rfc_3339(text: str) -> None:
    with pytest.raises(ValueError):
        values.rfc3339_time(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2024-01-15", 1705276800), ("2024-01-15T10:30", 1705314600), ("2024-01-15 10:30:00", 1705314600),
     ("20240115T103000Z", 1705314600), ("2024-01-15T10:30:00+05:30", 1705294800), ("2024-01-15T10:30-08", 1705343400)],
)  # fmt: skip
def test_iso_8601(text: str, seconds: int) -> None:
    assert values.iso_time(text) == seconds * 1000


@pytest.mark.parametrize("text", ["2024-01-15T10:30:00+01:60", "20240115T103000-0199", "2024-01-15T10:30:00+24:00"])
def test_an_offset_that_no_clock_has_is_no_iso_8601(text: str) -> None:
    with pytest.raises(ValueError, match="an ISO 8601 time such as 2024-01-15T10:30:00Z"):
        values.iso_time(text)


@pytest.mark.parametrize("offset", ["+24:00", "-24:00", "+99:59", "+01:60"])
def test_an_offset_that_no_clock_has_is_no_rfc_3339(offset: str) -> None:
    with pytest.raises(ValueError, match="an RFC 3339 time with an offset"):
        values.rfc3339_time(f"2024-01-15T10:30:00{offset}")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1990-12-31T23:59:60Z", 662688000000), ("1990-12-31T15:59:60-08:00", 662688000000),
     ("2016-12-31T23:59:60.25Z", 1483228800250), ("2015-07-01T05:29:60+05:30", 1435708800000)],
)  # fmt: skip
def test_a_leap_second_is_the_first_second_behind_it(text: str, milliseconds: int) -> None:
    assert values.rfc3339_time(text) == values.iso_time(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    ["2016-12-31T23:58:60Z", "2016-12-30T23:59:60Z", "2016-12-31T22:59:60Z", "2016-12-31T23:59:61Z",
     "2016-12-31T23:59:60+01:00", "9999-12-31T23:59:60Z", "9999-12-31T23:59:60-23:59", "0001-01-01T00:00:60+23:59"],
)  # fmt: skip
def test_no_leap_second(text: str) -> None:
    with pytest.raises(ValueError):
        values.rfc3339_time(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("20161231T235960Z", 1483228800000), ("20161231T235960", 1483228800000),
     ("20150701T052960,5+05:30", 1435708800500)],
)  # fmt: skip
def test_a_leap_second_in_the_basic_form(text: str, milliseconds: int) -> None:
    assert values.iso_time(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["20161231T235860Z", "20161231T2360Z", "20161231T2359-60", "2016-12-31T23:59+60:00", "2016-12-31T23:60"]
)
def test_sixty_is_no_leap_second_anywhere_else(text: str) -> None:
    with pytest.raises(ValueError):
        values.iso_time(text)


def test_a_day_ahead_is_the_most() -> None:
    assert values.ahead(DAY, 0) is None
    assert values.ahead(DAY + 1, 0)


@pytest.mark.parametrize(
    ("digits", "milliseconds"),
    [("99999999999", 99999999999000), ("99999999999.9999", 99999999999999), ("10000000000.5", 10000000000500),
     ("1e10", 10**13), ("1e11", 10**11), ("100000000000", 10**11), ("100000000000.9", 10**11),
     ("1702963200.1239", 1702963200123),
     ("0.0009", 0), ("1e-7", 0), ("-0", 0), ("-0.0e5", 0), ("0e999999999999", 0)],
)  # fmt: skip
def test_unix_times_at_their_limits(digits: str, milliseconds: int) -> None:
    assert values.unix_time(digits.encode()) == milliseconds
