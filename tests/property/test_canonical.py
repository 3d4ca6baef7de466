"""gateway.canonical against RFC 8785 written out, and the fingerprint's promises."""

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from gateway.canonical import canonical, fingerprint, properties, scope
from gateway.jsontext import read
from gateway.values import Number
from tests.property import json_reference
from tests.property.json_texts import OBJECTS, RANDOM, VALUES, spell


@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_canonical_json_is_rfc_8785_with_the_digits_as_sent(value: Any) -> None:
    assert canonical(value).decode() == json_reference.canonical(value)


def test_keys_are_in_the_order_of_rfc_8785_3_2_3() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    found = json.loads(canonical(dict.fromkeys(keys)), object_pairs_hook=lambda pairs: [key for key, _ in pairs])
    assert found == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@given(OBJECTS, RANDOM)
@settings(max_examples=200, deadline=None)
def test_the_fingerprint_knows_an_event_in_any_spelling_and_order(event: dict[str, Any], random: Random) -> None:
    shuffled = {key: event[key] for key in random.sample(list(event), len(event))}
    again = read(spell(shuffled, random).encode()).value
    where = scope("revosurge", "POST /v2/s2s/event", None)
    assert fingerprint(where, canonical(again)) == fingerprint(where, canonical(event))
    assert len(fingerprint(where, canonical(event))) == 16


@given(OBJECTS, OBJECTS)
@settings(max_examples=200, deadline=None)
def test_the_fingerprint_tells_events_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    where = scope("adwize", "POST /api/v1/events", None)
    assert (fingerprint(where, canonical(one)) == fingerprint(where, canonical(other))) == (one == other)


def test_the_fingerprint_tells_digits_routes_dialects_and_campaigns_apart() -> None:
    scopes = [scope(d, r, c) for d in ("a", "b") for r in ("r", "s") for c in (None, "c", "")]
    prints = {fingerprint(where, canonical({"a": digits})) for where in scopes for digits in (b"1", b"1.0")}
    assert len(prints) == 24


@given(OBJECTS)
@settings(max_examples=300, deadline=None)
def test_properties_keep_the_digits_but_of_numbers_beyond_a_double(found: dict[str, Any]) -> None:
    assert json_reference.parse(properties(found).encode()) == _stored(found)


def _stored(value: Any) -> Any:
    if isinstance(value, Number):
        return value if abs(float(value)) < 1e308 else value.decode()
    if isinstance(value, dict):
        return {key: _stored(item) for key, item in value.items()}
    return [_stored(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("digits", "stored"),
    [("9.9e307", "9.9e307"), ("1e308", '"1e308"'), ("-1.7E+308", '"-1.7E+308"'), ("0.01e309", "0.01e309"),
     ("1e-400", "1e-400"), ("1" + "0" * 307, "1" + "0" * 307), ("1" + "0" * 308, '"1' + "0" * 308 + '"')],
)  # fmt: skip
def test_the_largest_number_among_properties(digits: str, stored: str) -> None:
    assert properties({"a": digits.encode()}) == f'{{"a":{stored}}}'
