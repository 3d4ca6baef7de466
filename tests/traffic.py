"""Random traffic by seed, with everything in it that the rules distinguish, and its way through the agents."""

import random
from typing import Any

from runtime.agent import Record
from runtime.letters import dead_letter
from runtime.testing import Run
from schemas import money
from schemas.keys import uuid7_bytes
from schemas.registry import EVENT, REJECTION
from schemas.topics import DEAD_LETTERS, INGEST_EVENTS, REJECTIONS
from streams.agents import attribution, dedup, pairing, sessions, touches
from tests.events import T0, event, record_key

GAP, LATENESS, WINDOW = 30 * 60_000, 24 * 3_600_000, 7 * 24 * 3_600_000
TOUCH_WINDOW = 12 * 3_600_000
PARTITIONS = 3
HOUR = 3_600_000
PROPERTIES = ("{}", '{"level": 3, "nested": {"a": [1, "x", null]}}', '{"a.b": 1e400, "ü": "\\u0000"}')
LARGEST = 10**38 - 1
"""Unscaled: 20 integer digits and 18 decimals."""


def amount(rng: random.Random, sign: int = 1) -> bytes:
    """Mostly small, sometimes the largest or the least there is."""
    unscaled = rng.choice([LARGEST, 1, 0, rng.randrange(10**38), *(rng.randrange(10**21) for _ in range(6))])
    return money.to_bytes(sign * unscaled)


def traffic(rng: random.Random, count: int) -> list[dict[str, Any]]:
    """Events in the order of their arrival, some sent again, with the same payload or another."""
    sent: list[dict[str, Any]] = []
    for nth in range(count):
        if sent and rng.random() < 0.08:
            sent.append(_again(rng, rng.choice(sent)))
        else:
            sent.append(_event(rng, nth))
    return sorted(sent, key=lambda fields: fields["received_at"])


def _again(rng: random.Random, first: dict[str, Any]) -> dict[str, Any]:
    repeat = dict(first) | {"received_at": first["received_at"] + rng.randrange(HOUR)}
    if first["dedup_key"] is None:
        return repeat | {"event_id": rng.randbytes(16)}
    if rng.random() < 0.3:
        repeat |= {"fingerprint": rng.randbytes(16), "payload": b"something else"}
    return repeat


def _event(rng: random.Random, nth: int) -> dict[str, Any]:
    time = T0 + rng.randrange(60 * HOUR)
    delay = rng.choice([0, 50, 900, 5000, HOUR, LATENESS, LATENESS + 1, 3 * LATENESS])
    name = rng.choice(
        ["bet", "bet", "bet", "win", "win", "loss", "deposit", "withdraw", "login", "impression", "click", "conversion",
         "register", "registration", "signup", "session_start", "session_stop", "session_end", "Ünïcode näme"]
    )  # fmt: skip
    given: dict[str, Any] = {
        "nth": nth, "event_name": name, "event_time": time, "received_at": time + delay,
        "tenant": rng.choice(["acme", "beta"]), "dialect": rng.choice(["revosurge", "adwize", "gamerebellion"]),
        "player_id": rng.choice(["p1", "p2", "p3", "naïve", None]), "device_id": rng.choice([None, "d1"]),
        "currency": rng.choice(["USD", "USD", "EUR", "BTC", None]), "campaign": rng.choice([None, "spring", "autumn"]),
        "click_id": rng.choice([None, None, "c1", "c2", "c3"]),
        "game_type": rng.choice(["slot", "table", None]), "game_provider": rng.choice(["EA", "Evolution", None]),
        "properties": rng.choice(PROPERTIES),
        "dedup": rng.choice([None, nth]), "is_crypto": rng.choice([None, True, False]),
    }  # fmt: skip
    if name in ("bet", "win", "loss", "deposit", "withdraw") and rng.random() < 0.95:
        given["amount"] = amount(rng, -1 if name == "loss" else 1)
    if name == "bet":
        given["transaction_id"] = f"b{rng.randrange(count_of_bets(nth))}"
        if rng.random() < 0.3:
            won = rng.random() < 0.5
            given |= {"bet_result": "win" if won else "loss", "bet_result_amount": amount(rng, 1 if won else -1)}
    elif name in ("win", "loss"):
        given |= {"transaction_id": f"s{nth}", "parent_transaction_id": f"b{rng.randrange(count_of_bets(nth))}"}
    return event(**given)


def count_of_bets(nth: int) -> int:
    """Ids grow in number as traffic goes on, so that most bets meet their settlement and some stay alone."""
    return 5 + nth // 4


def processed(events: list[dict[str, Any]], rng: random.Random) -> Run:
    """The agents' logs after all of it, worked off in pieces."""
    agents = [dedup.make(WINDOW), pairing.make(), sessions.make(GAP, LATENESS, PARTITIONS), touches.make()]
    agents.append(attribution.make(TOUCH_WINDOW, LATENESS))
    names = [agent.name for agent in agents]
    run = Run(agents, PARTITIONS, log=77)
    for fields in events:
        run.append(INGEST_EVENTS, record_key(fields), EVENT.encode(fields), fields["received_at"])
        if rng.random() < 0.05:
            run.work(rng.choice(names), batch=rng.randrange(1, 40))
    for name in names:
        run.work(name, batch=rng.randrange(1, 60))
    return run


def rejections(rng: random.Random, count: int) -> list[Record]:
    """Refused requests as the gateway tells of them."""
    records = []
    for nth in range(count):
        at = T0 + rng.randrange(60 * HOUR)
        fields = {
            "rejection_id": uuid7_bytes(), "received_at": at, "tenant": rng.choice(["acme", "beta"]),
            "dialect": rng.choice(["revosurge", ""]), "route": "POST /v2/s2s/event", "status": rng.choice([400, 403]),
            "errors": "[]", "detail": "no", "body": rng.randbytes(20), "request_id": str(nth),
        }  # fmt: skip
        records.append(Record(REJECTIONS.name, 0, nth, at, None, REJECTION.encode(fields)))
    return records


def letters(rng: random.Random, records: list[Record], log: int, stage: str = "dedup") -> list[Record]:
    """Dead letters of records of ingest.events."""
    found = []
    for nth, record in enumerate(records):
        key, value = dead_letter(stage, record, log, ValueError(rng.choice(["bad", "worse"])))
        found.append(Record(DEAD_LETTERS.name, 0, nth, record.timestamp, key, value))
    return found
