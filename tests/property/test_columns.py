"""gateway.columns: batches read by the column against the same batches read event by event."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings

from gateway import entry
from gateway.columns import ENOUGH, Columns
from gateway.dialects import adwize, revosurge
from gateway.dialects.base import Accepted, Handler, Refusal, Request
from gateway.drafts import Drafts
from tests.contract.players import counting_ids
from tests.contract.recordings import Digits, Scene, dumps, load, loads, sent
from tests.property.json_texts import RANDOM
from tests.property.requests import hostile

NOW = 1_767_225_600_000
SCENE = Scene("acme", NOW)
HANDLERS: dict[str, Handler] = {"revosurge": revosurge.batch, "adwize": adwize.ingest}
RECORDINGS = {dialect: load(dialect) for dialect in HANDLERS}
ROUTES = {"revosurge": "POST /v2/s2s/batch", "adwize": "POST /api/v1/events"}
KEPT = ("bet", "win", "loss")
NUMBERS = tuple(map(Digits, ("0", "-1", "-0.0", "1e3", "99999999999", "1e999", "1702963200123")))
FRESH = ("7", "é", "x" * 5000, '"\\', "0001")


def objects(random: Random, dialect: str) -> list[dict[str, Any]]:
    """The events of a request of the dialect, most of them acceptable."""
    recordings = RECORDINGS[dialect]
    sound = [each for each in recordings if each.answer["status"] < 300]
    request = (
        hostile(random, SCENE, recordings) if random.random() < 0.15 else sent(random.choice(sound).request, SCENE)
    )
    try:
        value = loads(request.body)
        dumps(value)
    except (ValueError, TypeError):  # no JSON, or half a surrogate pair
        return []
    return [event for event in (value if isinstance(value, list) else [value]) if isinstance(event, dict)]


def varied(random: Random, event: Any) -> Any:
    """The event with other texts and numbers in it."""
    if isinstance(event, dict):
        return {name: varied(random, item) for name, item in event.items()}
    if random.random() > 0.1:
        return event
    if isinstance(event, str):
        return event if event in KEPT else event + random.choice(FRESH)
    if type(event) not in (int, Digits):
        return event
    if random.random() < 0.03:
        return random.choice(NUMBERS)
    return Digits(f"{event}.50") if type(event) is int else event


def body(random: Random, dialect: str) -> bytes:
    """A batch of a few kinds of events, many of each."""
    kinds = [event for _ in range(random.randint(1, 3)) for event in objects(random, dialect)[:1]]
    events = [varied(random, kind) for kind in kinds for _ in range(random.randint(ENOUGH, 2 * ENOUGH))]
    if random.random() < 0.3:
        random.shuffle(events)
    written = dumps(events)
    return written.replace(b'","', b'", "') if random.random() < 0.2 else written


def answered(dialect: str, written: bytes, headers: dict[str, str]) -> tuple[Any, Any, bool]:
    """The answer, the records, and whether the events were kept by columns."""
    ids = counting_ids()
    request = Request(ROUTES[dialect], {}, headers, written, "acme", NOW, ids.__next__)
    try:
        accepted = HANDLERS[dialect](request)
    except Refusal as refusal:
        return refusal.status, refusal.body(), False
    assert isinstance(accepted, Accepted)
    records = entry.records(accepted.events, 8, [])
    return (accepted.status, accepted.body, accepted.idempotency), (list(accepted.events), records), isinstance(
        accepted.events, Columns
    )  # fmt: skip


@pytest.mark.parametrize("dialect", HANDLERS)
def test_columns_are_what_the_events_are_one_by_one(dialect: str, capsys: pytest.CaptureFixture[str]) -> None:
    seen: Counter[bool] = Counter()

    @given(RANDOM)
    @settings(max_examples=200, deadline=None)
    def check(random: Random) -> None:
        for _ in range(5):
            written = body(random, dialect)
            headers = {"idempotency-key": "k"} if random.random() < 0.3 else {}
            *by_column, kept = answered(dialect, written, headers)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Drafts, "_columns", lambda *_: None)
                *one_by_one, _ = answered(dialect, written, headers)
            assert by_column == one_by_one
            seen[kept] += 1

    check()
    with capsys.disabled():
        print(f"\n{dialect}: {seen[True]:,} batches by columns, {seen[False]:,} one by one")
    assert min(seen[True], seen[False]) > 100


@pytest.mark.parametrize("dialect", HANDLERS)
def test_few_events_and_many_shapes_are_read_one_by_one(dialect: str) -> None:
    random = Random(1)
    event = next(found[0] for _ in range(100) if (found := objects(random, dialect)))
    few = dumps([event] * (ENOUGH - 1))
    many = dumps([{**event, f"own{number}": 1} for number in range(2 * ENOUGH)])
    assert not answered(dialect, few, {})[2]
    assert not answered(dialect, many, {})[2]
