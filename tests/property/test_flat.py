"""gateway.flat: the one pass against pydantic."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from gateway import jsontext
from gateway.dialects import adwize, revosurge
from gateway.dialects.base import Refusal
from gateway.flat import Flat
from tests.contract.recordings import Scene, dumps, load
from tests.property.json_texts import RANDOM
from tests.property.requests import hostile

SCENE = Scene("acme", 1_767_225_600_000)
FLATS = {revosurge: load("revosurge"), adwize: load("adwize")}


def events(body: bytes) -> list[dict[str, Any]]:
    """The objects of a body, an event or a batch."""
    try:
        pieces = jsontext.read_array(body, 1000).pieces if jsontext.root(body) == b"[" else [jsontext.read(body)]
    except Refusal:
        return []
    return [piece.value for piece in pieces if isinstance(piece.value, dict)]


@pytest.mark.parametrize("dialect", FLATS, ids=lambda dialect: dialect.NAME)
def test_what_is_read_and_what_is_told_is_as_pydantic_has_it(dialect: Any, capsys: pytest.CaptureFixture[str]) -> None:
    flat: Flat = dialect.EVENT
    seen: Counter[bool] = Counter()

    @given(RANDOM)
    @settings(max_examples=300, deadline=None)
    def check(random: Random) -> None:
        for _ in range(20):
            for event in events(hostile(random, SCENE, FLATS[dialect]).body):
                sent = event.copy()
                read = flat.read(event)
                assert read == flat.exactly(event)
                assert list(read[1]) == list(flat.exactly(event)[1])
                assert event == sent
                seen[not read[2]] += 1

    check()
    with capsys.disabled():
        print(f"\n{dialect.NAME}: {seen[True]:,} events without a fault, {seen[False]:,} with")
    assert min(seen[True], seen[False]) > 100


@pytest.mark.parametrize("dialect", FLATS, ids=lambda dialect: dialect.NAME)
def test_pydantic_is_not_asked_for_what_is_plainly_right(dialect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flat, "exactly", lambda *_: pytest.fail("pydantic was asked"))
    for recording in FLATS[dialect]:
        if recording.answer["status"] < 300 and "json" in recording.request:
            for event in events(dumps(recording.request["json"])):
                assert dialect.EVENT.read(event)[2] == []
