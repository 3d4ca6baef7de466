"""An agent that removes keys, under storms: nothing that was removed comes back, though its changelog is carried."""

import random
from collections import Counter
from typing import Any

import pytest

from runtime import carry, changelog
from runtime.agent import Agent, Emit, State
from runtime.origin import ingest_coordinates
from runtime.testing import Run
from schemas.topics import EVENTS, INGEST_EVENTS

PARTITIONS = 2
KEYS = [b"k%d" % n for n in range(8)]


def count(record: Any, state: State, emit: Emit) -> None:
    """Counts a key's records to three, and begins anew."""
    n = int(state.get(record.key) or b"0") + 1
    emit.record(EVENTS, record.key, b"%d" % n)
    if n == 3:
        state.delete(record.key)
    else:
        state.put(record.key, b"%d" % n)


def storm(seed: int) -> Run:
    draw = random.Random(seed)
    run = Run([Agent("count", INGEST_EVENTS, count, (EVENTS,))], PARTITIONS)
    for _ in range(80):
        for _ in range(draw.randrange(4)):
            run.append(INGEST_EVENTS, draw.choice(KEYS), b"", 0)
        dice, zombie, crash = draw.random(), draw.choice([0, 0, 1, 2]), draw.choice([None, None, draw.randrange(8)])
        if dice < 0.5:
            run.work("count", most=draw.choice([1, 3, 100]), crash=crash, zombie=zombie)
        elif dice < 0.75:
            run.carry("count", crash=crash, zombie=zombie)
        elif dice < 0.9:
            run.fork("count")
        else:
            run.restart("count", lose_disk=draw.random() < 0.5)
    run.restart("count", lose_disk=draw.random() < 0.5)
    run.work("count")
    return run


def check(run: Run) -> None:
    """By each input's place, the number that a plain loop gives it; repeats must be equal."""
    found: dict[tuple[int, int], bytes] = {}
    for record in run.records(EVENTS):
        place = ingest_coordinates(record.headers[0][1])[1:]
        assert found.setdefault(place, record.value or b"") == record.value
    seen: Counter[bytes] = Counter()
    expected = {}
    for record in run.records(INGEST_EVENTS):
        assert record.key is not None
        seen[record.key] += 1
        expected[record.partition, record.offset] = b"%d" % ((seen[record.key] - 1) % 3 + 1)
    assert found == expected


@pytest.mark.parametrize("seed", range(40))
def test_storm_over_removed_keys(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "PART", 30 if seed % 2 else 512 * 1024)
    monkeypatch.setattr(carry, "SPARE", 3)
    monkeypatch.setattr(carry, "FACTOR", 0)
    check(storm(seed))
