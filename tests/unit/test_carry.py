"""State that does not age survives the cutting of its changelog, whoever cuts it, and whenever."""

import pytest

from runtime import carry
from runtime.testing import Run
from schemas import money
from schemas.registry import BET, EVENT
from schemas.topics import BETS, WAGERS, changelog
from streams.agents import pairing
from tests.events import T0, event

LOG = changelog("pairing", None).name


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry, "SPARE", 0)
    monkeypatch.setattr(carry, "FACTOR", 0)
    monkeypatch.setattr(carry, "PIECE", 3)


def wager(run: Run, name: str, bet: int, amount: int) -> None:
    each = event(
        event_name=name, amount=amount, currency="USD", transaction_id=f"b{bet}" if name == "bet" else f"w{bet}",
        parent_transaction_id=None if name == "bet" else f"b{bet}", nth=bet,
        event_time=T0 + ["bet", "win", "loss"].index(name),
    )  # fmt: skip
    origin = b"\x01" + bytes(4) + (7).to_bytes(8, "big") + bytes(4) + b"test" + run_offset(run) + bytes(4)
    run.append(WAGERS, each["bet_key"].encode(), EVENT.encode(each), each["received_at"], [("origin", origin)])


def run_offset(run: Run) -> bytes:
    return len(run.records(WAGERS)).to_bytes(8, "big")


def settle_all(run: Run, bets: int) -> None:
    """A fresh worker reads the changelog alone and settles every bet: none may be an orphan."""
    run.fork("pairing")
    for bet in range(bets):
        wager(run, "win", bet, 3)
    run.work("pairing")
    latest = {}
    for record in run.records(BETS):
        row = BET.decode(record.value or b"")
        latest[row["bet_id"]] = row
    assert {row["status"] for row in latest.values()} == {"won"}
    assert {money.from_bytes(row["stake"]) for row in latest.values()} == {5 * money.ONE}
    assert len(latest) == bets


def placed(run: Run, bets: range) -> None:
    for bet in bets:
        wager(run, "bet", bet, 5)
    run.work("pairing", batch=1)


def test_the_log_is_cut_and_the_state_is_whole() -> None:
    run = Run([pairing.make()], partitions=1)
    placed(run, range(20))
    begin, end = run.broker.begins.get((LOG, 0), 0), len(run.broker.log(LOG, 0))
    assert begin > 10
    assert end - begin < 25
    settle_all(run, 20)


def test_a_paused_worker_that_carries_late_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run([pairing.make()], partitions=1)
    monkeypatch.setattr(carry, "SPARE", 1000)
    placed(run, range(10))
    run.fork("pairing")
    placed(run, range(10, 20))
    monkeypatch.setattr(carry, "SPARE", 0)
    run.carry("pairing", zombie=1)
    assert (LOG, 0) not in run.broker.begins
    settle_all(run, 20)


def test_what_a_paused_worker_carried_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It still holds a bet as open that was settled since: its old value must not come back."""
    run = Run([pairing.make()], partitions=1)
    monkeypatch.setattr(carry, "SPARE", 1000)
    placed(run, range(3))
    run.fork("pairing")
    wager(run, "win", 2, 3)
    run.work("pairing")
    monkeypatch.setattr(carry, "SPARE", 0)
    run.carry("pairing", zombie=1)
    run.fork("pairing")
    wager(run, "loss", 2, -1)  # with the win's transaction: it counts only if the win is forgotten
    run.work("pairing")
    row = BET.decode(run.records(BETS)[-1].value or b"")
    assert (row["bet_id"], row["settlement_count"]) == ("b2", 1)
    assert money.from_bytes(row["net_result"]) == 3 * money.ONE


def test_dying_between_carrying_and_cutting_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run([pairing.make()], partitions=1)

    async def dies(*_: object) -> None:
        """The process is gone before the tail is."""

    with monkeypatch.context() as patch:
        patch.setattr(run.broker, "delete", dies)
        placed(run, range(12))
    run.restart("pairing", lose_disk=True)
    settle_all(run, 12)
