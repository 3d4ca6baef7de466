"""gateway.jsontext against the slow reference, on good texts and on damaged ones."""

from random import Random
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import jsontext
from gateway.dialects.base import Refusal
from tests.property import json_reference
from tests.property.json_texts import OBJECTS, RANDOM, VALUES, damage, damaged, spell


def ours(body: bytes) -> Any:
    """The value, or None where it is refused. (A body ``null`` is told apart by the caller.)"""
    try:
        piece = jsontext.read(body)
    except Refusal:
        return Refusal
    return Refusal if piece.faults else piece.value


def theirs(body: bytes) -> Any:
    try:
        return json_reference.parse(body)
    except json_reference.Wrong:
        return Refusal


@given(VALUES, RANDOM)
@settings(max_examples=300, deadline=None)
def test_every_spelling_of_a_value_is_read_as_that_value(value: Any, random: Random) -> None:
    body = spell(value, random).encode()
    piece = jsontext.read(body)
    assert not piece.faults
    assert piece.value == value == theirs(body)
    assert piece.raw == body.strip(b" \t\n\r")
    assert piece.canonical in (None, json_reference.canonical(value).encode())


@given(damaged(VALUES) | st.binary(max_size=60))
@settings(max_examples=800, deadline=None)
def test_what_the_reference_refuses_is_refused_and_nothing_else(body: bytes) -> None:
    assert ours(body) == theirs(body)


@given(st.lists(VALUES, max_size=6), RANDOM)
@settings(max_examples=200, deadline=None)
def test_a_batch_is_its_events_in_their_exact_bytes(events: list[Any], random: Random) -> None:
    texts = [spell(event, random) for event in events]
    body = f" [{','.join(texts)}] ".encode()
    batch = jsontext.read_array(body, 10)
    assert [piece.value for piece in batch.pieces] == events
    assert [piece.raw for piece in batch.pieces] == [text.strip(" \t\n\r").encode() for text in texts]


def compact(events: list[Any]) -> bytes:
    """As most programs write it: without white space and needless escapes."""
    return json_reference.canonical(events).encode()


@given(st.lists(VALUES, max_size=6))
@example(['": '])
@settings(max_examples=200, deadline=None)
def test_a_compact_batch_is_its_events_too(events: list[Any]) -> None:
    batch = jsontext.read_array(compact(events), 10)
    assert [piece.value for piece in batch.pieces] == events
    assert [piece.raw for piece in batch.pieces] == [json_reference.canonical(event).encode() for event in events]
    if b'": ' not in compact(events):  # which a text may have too; it is then read with a closer look
        assert [piece.canonical for piece in batch.pieces] == [piece.raw for piece in batch.pieces]


@given(st.lists(VALUES, max_size=6), RANDOM)
@settings(max_examples=500, deadline=None)
def test_a_compact_batch_that_is_damaged_is_refused_as_the_reference_refuses_it(
    events: list[Any], random: Random
) -> None:
    check_array(damage(compact(events), random))


@given(st.lists(VALUES, max_size=6), OBJECTS, OBJECTS, RANDOM)
@settings(max_examples=200, deadline=None)
def test_so_is_a_batch_among_other_members(
    events: list[Any], before: dict[str, Any], after: dict[str, Any], random: Random
) -> None:
    after = {key: value for key, value in after.items() if key not in before and key != "events"}
    before = {key: value for key, value in before.items() if key != "events"}
    body = spell({**before, "events": events, **after}, random).encode()
    batch = jsontext.read_member(body, "events", 10)
    assert not batch.faults
    assert [piece.value for piece in batch.pieces] == events
    assert [json_reference.parse(piece.raw) for piece in batch.pieces] == events


@given(damaged(st.lists(VALUES, max_size=4)))
@settings(max_examples=350, deadline=None)
def test_a_damaged_batch_is_refused_as_the_reference_refuses_it(body: bytes) -> None:
    check_array(body)


def check_array(body: bytes) -> None:
    try:
        batch = jsontext.read_array(body, 100)
    except Refusal:
        assert not isinstance(theirs(body), list) or len(theirs(body)) > 100
        return
    faulty = [piece for piece in batch.pieces if piece.faults]
    assert (theirs(body) is Refusal) == bool(faulty)
    if not faulty:
        assert [piece.value for piece in batch.pieces] == theirs(body)


@given(damaged(st.dictionaries(st.sampled_from(["events", "a"]), VALUES | st.lists(VALUES, max_size=3))))
@settings(max_examples=350, deadline=None)
def test_a_damaged_member_is_refused_as_the_reference_refuses_it(body: bytes) -> None:
    whole = theirs(body)
    try:
        batch = jsontext.read_member(body, "events", 100)
    except Refusal:
        assert not isinstance(whole, dict)
        return
    fine = not batch.faults and not any(piece.faults for piece in batch.pieces)
    assert fine == (isinstance(whole, dict) and isinstance(whole.get("events"), list))
    if fine:
        assert [piece.value for piece in batch.pieces] == whole["events"]
