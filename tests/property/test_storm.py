"""Storms: many workers that die, freeze and wake up late, on few keys, so that a broken rule of design.md shows.

Each seed is a storm; a failure names its seed. What each rule is for, and that a storm goes red without it, is in
test_rules.py.
"""

import os
import random
from typing import Any

import pytest

from runtime import carry, changelog
from runtime.testing import Run
from schemas.registry import EVENT
from schemas.topics import INGEST_EVENTS
from tests.events import T0, event, record_key
from tests.property.test_agents import MARKETING, NAMES, PARTITIONS, agents, check

STORMS = int(os.environ.get("STORMS", "60"))


def traffic(draw: random.Random, n: int) -> dict[str, Any]:
    """An event about one of a few bets of one of two players, near the others in time."""
    name = draw.choice(["bet", "win", "loss", "login", "session_stop", "session_end", "deposit", *MARKETING])
    amount = {"bet": 5, "deposit": 3, "win": draw.randrange(1, 9), "loss": -draw.randrange(1, 9)}.get(name)
    bet = f"b{draw.randrange(n // 6 + 3)}"  # some are left alone for long, and then settled
    return event(
        event_name=name,
        event_time=T0 + n * 25_000 + draw.randrange(-60_000, 60_000),
        received_at=T0 + n * 25_000 + 60_000 - draw.choice([0, 0, 0, 400_000]),
        player_id=draw.choice(["p", "q"]),
        nth=n,
        amount=amount,
        currency="USD",
        transaction_id=bet if name == "bet" else f"s{draw.randrange(8)}",
        parent_transaction_id=bet if name in ("win", "loss") else None,
        dedup=draw.choice([None, draw.randrange(20)]),
        click_id=draw.choice([None, f"c{n // 8}"]),
        campaign=draw.choice([None, "x", "y"]),
    )


def storm(seed: int, steps: int = 60, carrying: float = 0.05) -> Run:
    """Events, and whatever can happen to the workers in between; ``carrying`` is how often a tail is carried."""
    draw = random.Random(seed)
    run = Run(agents(), PARTITIONS)
    for n in range(steps):
        for _ in range(draw.randrange(4)):
            each = traffic(draw, n)
            run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), each["received_at"])
        for name in NAMES:
            if draw.random() < carrying:
                run.carry(name, crash=draw.choice([None, draw.randrange(6)]), zombie=draw.choice([0, 1, 2]))
            else:
                _strike(run, draw, name)
    for name in NAMES:
        run.restart(name, lose_disk=draw.random() < 0.5)
        run.work(name)
    return run


def _strike(run: Run, draw: random.Random, name: str) -> None:
    dice = draw.random()
    most, batch = draw.choice([1, 2, 5, 1000]), draw.choice([1, 3, 1000])
    if dice < 0.45:
        run.work(name, most=most, batch=batch)
    elif dice < 0.65:
        run.work(name, most=most, batch=batch, zombie=draw.choice([1, 1, 2, 3]))
    elif dice < 0.8:
        run.work(name, most=most, batch=batch, crash=draw.randrange(14), zombie=draw.choice([0, 0, 1]))
    elif dice < 0.9:
        run.fork(name)
    else:
        run.restart(name, lose_disk=draw.random() < 0.5)


@pytest.mark.parametrize("seed", range(STORMS))
def test_storm(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if seed % 2:
        monkeypatch.setattr(changelog, "PART", 60)  # nearly every group has several parts, so that halves are left
    if seed % 3:
        monkeypatch.setattr(carry, "SPARE", 3)  # pairing's changelog is carried forward and cut all the time
        monkeypatch.setattr(carry, "FACTOR", 0)
    check(storm(seed, carrying=0.05 if seed % 4 < 2 else 0.4))
