"""Accepted losses: which offsets they take out of what is missing, and what the audit says of the others."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import UnknownTopicOrPartitionError

from cli.audit import _show, as_json
from runtime.losses import Acceptance, Loss, NowhereToRecord, spans
from sinks.accepted import accept, accepted, concerning, suspicion
from sinks.audit import Balance
from sinks.auditing import Progress

LOG = 7


def loss(
    start: int, end: int, topic: str = "ingest.events", reader: str = "dedup", log: int = LOG, at: int = 0
) -> Loss:
    return Loss(topic, log, at, start, end, reader)


class Tables:
    """Nothing of partition 0, and everything of the others."""

    def uncovered(self, partition: int, start: int, end: int) -> int:
        return end - start if partition == 0 else 0


def judged(missing: int, *losses: Loss, end: int = 100) -> Balance:
    balance = Balance(ingested=100, stored=100 - missing, missing=missing, derived={})
    tables: Any = Tables()
    accept(tables, balance, losses, {0: end, 1: end})
    return balance


class Old:
    """Kafka with a former release's topics."""

    async def logs(self, topics: list[str]) -> Any:
        raise UnknownTopicOrPartitionError


def test_only_the_offsets_that_were_named_are_accepted_and_only_where_that_can_be_recorded() -> None:
    anything: Any = None
    kafka: Any = Old()

    async def covers(start: int, end: int) -> bool:
        return await Acceptance((2, 4), anything, kafka).covers("dedup", "ingest.events", 0, start, end)

    assert not asyncio.run(covers(2, 5))
    with pytest.raises(NowhereToRecord, match=r"no topic control\.losses, .* run `sluice topics`"):
        asyncio.run(covers(2, 4))


def test_losses_that_overlap_are_counted_once() -> None:
    found = spans([loss(5, 9), loss(1, 3), loss(3, 6), loss(20, 21), loss(2, 3, at=1)])
    assert found == {0: [(1, 9), (20, 21)], 1: [(2, 3)]}


def test_only_what_dedup_lost_of_the_log_accounts_for_offsets() -> None:
    others = [loss(5, 9, reader="sink"), loss(5, 9, topic="events"), loss(5, 9, topic="events", reader="sink")]
    assert accepted(others, {0: 100}) == {}


def test_no_offset_counts_that_is_not_judged() -> None:
    assert accepted([loss(5, 9), loss(10, 20), loss(1, 2, at=1)], {0: 8}) == {0: [(5, 8)], 1: []}


def test_another_incarnations_offsets_are_not_this_ones() -> None:
    kept = [loss(1, 2), loss(1, 2, topic="events", log=3)]
    assert concerning([*kept, loss(1, 2, log=3)], LOG) == kept


def test_it_balances_if_nothing_else_is_missing() -> None:
    found = judged(3, loss(11, 14))
    assert (found.balanced, found.missing, found.accepted_losses, found.ingested) == (True, 0, 3, 100)
    found = judged(4, loss(11, 14))
    assert (found.balanced, found.missing, found.accepted_losses) == (False, 1, 3)
    found = judged(4, loss(11, 14, at=1))
    assert (found.missing, found.accepted_losses) == (4, 0), "they are stored, out of a mirror"


def test_a_person_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    balance = judged(3, loss(11, 14), loss(7, 8, topic="wagers", reader="pairing", at=2))
    _show(balance)
    printed = capsys.readouterr().out
    assert "lost, accepted            3\n" in printed
    assert (
        "accepted ingest.events-0@11-13  lost: deleted before dedup had read it, which a person accepted\n" in printed
    )
    assert "accepted wagers-2@7  lost: deleted before pairing had read it" in printed
    found = as_json(balance)
    assert found["accepted_losses"] == 3
    assert found["losses"][0] == {"reader": "dedup", "topic": "ingest.events", "partition": 0, "from": 11, "to": 13}


def test_nobody_is_told_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _show(judged(0))
    assert "accepted" not in capsys.readouterr().out


def test_what_the_sink_was_allowed_to_lose_may_be_why_an_event_is_missing() -> None:
    losses = [loss(10, 15, topic="events", reader="sink"), loss(1, 2, topic="bets", reader="sink"), loss(5, 9)]
    stage = Progress({0: 9}, 0, suspicion(losses)).stage(0, 8)
    assert stage.startswith("lost: dedup has handled it, and no table holds it; ")
    assert stage.endswith("events-0@10-14")
    assert Progress({0: 9}, 0, suspicion(losses)).stage(0, 9) == "waits for dedup, which has come to 9"
    assert suspicion([loss(5, 9)]) == ""
