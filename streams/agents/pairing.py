"""Pairing: each bet with its wins and losses, by parent_transaction_id, whatever the order in which they come.

Rule: spec/semantics.md, Pairing. There is no window: a bet's state stays until it is settled, and beyond.

State: bet_key -> as JSON, received_at of the first wager that came, which leads the row's key in the warehouse, and the
bets and settlements known. ``settle`` makes the row of them.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from runtime.agent import Agent, Emit, State
from runtime.origin import ingest_coordinates
from runtime.settings import Settings
from schemas import money
from schemas.registry import EVENT
from schemas.topics import BETS, WAGERS

_FIELDS = (
    "event_id", "fingerprint", "tenant", "received_at", "event_name", "event_time", "player_id", "transaction_id",
    "amount", "currency", "is_crypto", "bet_result", "bet_result_amount", "game_type", "game_provider",
)  # fmt: skip
_read = EVENT.reader(*_FIELDS)


@dataclass(slots=True)
class Wager:
    """A bet, win or loss, as far as pairing needs it. Amounts are unscaled ints; times milliseconds."""

    time: int
    event_id: str
    fingerprint: str
    name: str
    player: str | None
    transaction: str | None
    amount: int
    currency: str | None
    crypto: bool | None
    result: str | None
    result_amount: int | None
    game_type: str | None
    game_provider: str | None
    coordinates: tuple[int, int, int]

    @property
    def order(self) -> tuple[int, str, str]:
        """The first by this is the one that counts; the fingerprint only where the rule leaves a tie."""
        return self.time, self.event_id, self.fingerprint

    @property
    def settled(self) -> bool:
        """Pattern A: the bet carries its own result."""
        return self.result in ("win", "loss") and self.result_amount is not None

    def pack(self) -> list[Any]:
        """For the state; amounts as text, since JSON's numbers end at 64 bits."""
        result_amount = None if self.result_amount is None else str(self.result_amount)
        return [
            self.time, self.event_id, self.fingerprint, self.name, self.player, self.transaction, str(self.amount),
            self.currency, self.crypto, self.result, result_amount, self.game_type, self.game_provider,
            self.coordinates,
        ]  # fmt: skip

    @classmethod
    def unpack(cls, packed: list[Any]) -> "Wager":
        packed[6], packed[10] = int(packed[6]), None if packed[10] is None else int(packed[10])
        packed[13] = tuple(packed[13])
        return cls(*packed)


@dataclass(slots=True)
class Bet:
    """What is known of a bet."""

    first_received: int
    wagers: list[Wager]

    def pack(self) -> bytes:
        return orjson.dumps([self.first_received, *(wager.pack() for wager in self.wagers)])

    @classmethod
    def unpack(cls, packed: bytes) -> "Bet":
        first, *wagers = orjson.loads(packed)
        return cls(first, [Wager.unpack(wager) for wager in wagers])


def step(record: Any, state: State, emit: Emit) -> None:
    """Adds the wager to what is known of its bet; the row follows, at the batch's end, if that changed anything."""
    tenant, received, wager = _wager(record, emit)
    key = record.key
    bet = state.load(key, Bet.unpack) or Bet(received, [])
    if add(bet.wagers, wager):
        state.keep(key, bet, Bet.pack)
        emit.scratch[key] = (bet, tenant, record.offset, wager.coordinates)


def close(state: State, emit: Emit) -> None:
    """The rows of the bets that the batch has changed."""
    for key, (bet, tenant, offset, coordinates) in emit.scratch.items():
        row = settle(bet.wagers)
        row["tenant"], row["bet_id"] = tenant, orjson.loads(key)[1]
        row["first_received_at"] = bet.first_received
        row["epoch"], row["partition"], row["offset"] = emit.epoch, state.partition, offset
        row["ingest_log"], row["ingest_partition"], row["ingest_offset"] = coordinates
        emit.row(BETS, key, key, row)


def _wager(record: Any, emit: Emit) -> tuple[str, int, Wager]:
    (
        event_id, fingerprint, tenant, received, name, time, player, transaction, amount, currency, crypto, result,
        result_amount, game_type, game_provider,
    ) = _read(record.value)  # fmt: skip
    if emit.cause is None:
        raise ValueError("a wager without the coordinates of its event: the header origin is missing")
    return tenant, received, Wager(
        time, event_id.hex(), fingerprint.hex(), name, player, transaction, money.from_bytes(amount), currency, crypto,
        result, None if result_amount is None else money.from_bytes(result_amount), game_type, game_provider,
        ingest_coordinates(emit.cause),
    )  # fmt: skip


def add(known: list[Wager], wager: Wager) -> bool:
    """Puts the wager among the known ones, in order; False if it changes nothing.

    Of the same event twice (again after its dedup window) the one with the lower coordinates stays, so that the outcome
    does not depend on which came first.
    """
    for i, other in enumerate(known):
        if other.order == wager.order:
            if other.coordinates <= wager.coordinates:
                return False
            known[i] = wager
            return True
    known.append(wager)
    known.sort(key=lambda item: item.order)
    return True


def settle(known: list[Wager]) -> dict[str, Any]:
    """The row's fields, from wagers in their order."""
    bets = [wager for wager in known if wager.name == "bet"]
    settlements = _once([wager for wager in known if wager.name != "bet"]) if len(known) > len(bets) else []
    if not bets:
        return _row(settlements[0], None, "orphaned", "", None, settlements, [])
    bet = bets[0]
    counting = [] if bet.settled else [wager for wager in settlements if wager.currency == bet.currency]
    anomalies = _anomalies(bets, settlements, counting)
    if bet.settled:
        status = "won" if bet.result == "win" else "lost"
        return _row(bet, bet, status, "A", bet.result_amount, [], anomalies)
    if not counting:
        return _row(bet, bet, "open", "B", None, [], anomalies)
    net = sum(wager.amount for wager in counting)
    won = counting[0].name == "win" if len(counting) == 1 else net > 0
    return _row(bet, bet, "won" if won else "lost", "B", net, counting, anomalies)


def _once(settlements: list[Wager]) -> list[Wager]:
    """Each transaction_id once, the first in order; one without stands for itself."""
    first: dict[str, Wager] = {}
    for wager in settlements:
        first.setdefault(wager.event_id if wager.transaction is None else f"t{wager.transaction}", wager)
    return list(first.values())


def _anomalies(bets: list[Wager], settlements: list[Wager], counting: list[Wager]) -> list[str]:
    bet = bets[0]
    if len(bets) == 1 and not settlements:
        return []
    players = {wager.player for wager in settlements} - {None, bet.player}
    found = {
        "currency_mismatch": any(wager.currency != bet.currency for wager in settlements),
        "double_reported": bet.settled and bool(settlements),
        "multiple_bets": len(bets) > 1,
        "multiple_settlements": len(counting) > 1,
        "player_mismatch": bet.player is not None and bool(players),
        "settled_before_placed": any(wager.time < bet.time for wager in counting),
    }
    return [name for name, odd in found.items() if odd]


def _row(
    about: Wager, bet: Wager | None, status: str, pattern: str, net: int | None, counting: list[Wager], odd: list[str]
) -> dict[str, Any]:
    stake = None if bet is None else bet.amount
    placed = None if bet is None else bet.time
    settled = max((wager.time for wager in counting), default=placed if pattern == "A" else None)
    coordinates = (None, None, None) if bet is None else bet.coordinates
    known = stake is not None and net is not None
    return {
        "player_id": about.player,
        "status": status,
        "pattern": pattern,
        "game_type": about.game_type,
        "game_provider": about.game_provider,
        "currency": about.currency,
        "is_crypto": about.crypto,
        "stake": None if stake is None else money.to_bytes(stake),
        "net_result": money.to_bytes(net) if known and net is not None else None,
        "payout": money.to_bytes(stake + net) if stake is not None and net is not None else None,
        "ggr": money.to_bytes(-net) if known and net is not None else None,
        "placed_at": placed,
        "settled_at": settled,
        "settlement_count": 1 if pattern == "A" else len(counting),
        "anomalies": odd,
        "bet_ingest_log": coordinates[0],
        "bet_ingest_partition": coordinates[1],
        "bet_ingest_offset": coordinates[2],
    }


def make() -> Agent:
    """The agent. Its state does not age, so its changelog is truncated by its owner."""
    return Agent(name="pairing", source=WAGERS, step=step, outputs=(BETS,), close=close, retention=None)


def agent(_: Settings) -> Agent:
    """The agent, by its settings."""
    return make()
