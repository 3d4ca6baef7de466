"""Pairing: each bet with its wins and losses, by parent_transaction_id, whatever the order in which they come.

Rule: spec/semantics.md, Pairing. There is no window: a bet's state stays until it is settled, and beyond.

State: bet_key -> received_at of the first wager that came, which leads the row's key in the warehouse, and the bets and
settlements known, in the order in which they came. ``settle`` makes the row of them.

Texts stay the UTF-8 bytes that they are, and amounts Avro's, unless they are summed: pairing only passes them on.
"""

import struct
from bisect import bisect_left, insort
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from runtime.agent import Agent, Emit, State
from runtime.origin import PACKED
from runtime.settings import Settings
from schemas import money
from schemas.codec import decoder, encoder
from schemas.registry import BET, EVENT
from schemas.topics import BETS, WAGERS


class Wager(NamedTuple):
    """A bet, win or loss, as far as pairing needs it."""

    event_time: int
    event_id: bytes
    fingerprint: bytes
    """Tells nothing here: of an event that a rebuild took from ClickHouse it is not known (sinks/stored.py)."""
    event_name: bytes
    player_id: bytes | None
    transaction_id: bytes | None
    amount: bytes
    currency: bytes | None
    is_crypto: bool | None
    bet_result: bytes | None
    bet_result_amount: bytes | None
    game_type: bytes | None
    game_provider: bytes | None
    coordinates: bytes
    """In ingest.events, as PACKED says."""

    @property
    def settled(self) -> bool:
        """Pattern A: the bet carries its own result."""
        return self.bet_result in (b"win", b"loss") and self.bet_result_amount is not None


_order = itemgetter(0, 1, -1)
"""The first by (time, id) is the one that counts; the place only where the rule leaves a tie."""
_event = itemgetter(0, 1)
_said = itemgetter(slice(2), slice(3, -1))
"""All that pairing makes a row of: two wagers that agree in it are one event, accepted again after its window."""
_read = EVENT.reader("received_at", *Wager._fields[:-1], text=False)
_encode = BET.encode
_types = {field["name"]: field["type"] for field in EVENT.latest.schema["fields"]}
_types["amount"] = "bytes"  # no wager is without
_types["coordinates"] = {"type": "fixed", "name": "coordinates", "size": PACKED.size}
_PACKED = {"name": "Wager", "fields": [{"name": name, "type": _types[name]} for name in Wager._fields]}
_pack = encoder(_PACKED)
_unpack = decoder(_PACKED, Wager._fields, 0, {}, text=False)
_FIRST, _SIZE = struct.Struct(">q"), struct.Struct(">I")


@dataclass(slots=True)
class Bet:
    """What is known of a bet."""

    packed: bytes
    """Milliseconds of the first received_at, then each wager behind its size."""
    wagers: list[Wager]
    """In their order."""

    def add(self, wager: Wager) -> bool:
        """Puts the wager among the known ones; False if it changes nothing.

        Of the same event twice (again after its dedup window) the one with the lower coordinates stays, so that the
        outcome does not depend on which came first.
        """
        wagers = self.wagers
        event = wager[:2]
        for i in range(bisect_left(wagers, event, key=_event) if wagers else 0, len(wagers)):
            other = wagers[i]
            if other[:2] != event:
                break
            if _said(other) == _said(wager):
                if other.coordinates <= wager.coordinates:
                    return False
                wagers[i] = wager
                wagers.sort(key=_order)
                self.packed = self.packed[: _FIRST.size] + b"".join(map(_sized, wagers))
                return True
        insort(wagers, wager, key=_order)
        self.packed += _sized(wager)
        return True

    def pack(self) -> bytes:
        return self.packed

    @classmethod
    def unpack(cls, packed: bytes) -> "Bet":
        wagers, at, end = [], _FIRST.size, len(packed)
        while at < end:
            start = at + _SIZE.size
            at = start + _SIZE.unpack_from(packed, at)[0]
            wagers.append(Wager._make(_unpack(packed[start:at])))
        wagers.sort(key=_order)
        return cls(packed, wagers)


def _sized(wager: Wager) -> bytes:
    packed = _pack(wager)
    return _SIZE.pack(len(packed)) + packed


def step(record: Any, state: State, emit: Emit) -> None:
    """Adds the wager to what is known of its bet; the row follows, at the batch's end, if that changed anything."""
    fields = _read(record.value)
    key, coordinates = record.key, emit.coordinates
    if coordinates is None:
        raise ValueError("a wager without the coordinates of its event: the header origin is missing")
    bet = state.load(key, Bet.unpack) or Bet(_FIRST.pack(fields[0]), [])
    if bet.add(tuple.__new__(Wager, (*fields[1:], coordinates))):  # half the time of _make
        state.keep(key, bet, Bet.pack)
        emit.scratch[key] = (bet, record.offset, coordinates)


def close(state: State, emit: Emit) -> None:
    """The rows of the bets that the batch has changed."""
    epoch, partition = emit.epoch, state.partition
    for key, (bet, offset, coordinates) in emit.scratch.items():
        received, caused = _FIRST.unpack_from(bet.packed), PACKED.unpack(coordinates)
        row = (*orjson.loads(key), *settle(bet.wagers), *received, epoch, partition, offset, *caused)
        emit.encoded_row(BETS, key, key, _encode(row), offset)


def settle(known: list[Wager]) -> tuple[Any, ...]:
    """The row's fields from player_id to the bet's coordinates, from wagers in their order."""
    bets: list[Wager] = []
    settlements: list[Wager] = []
    for wager in known:
        (bets if wager.event_name == b"bet" else settlements).append(wager)
    if len(settlements) > 1:
        settlements = _once(settlements)
    if not bets:
        return _row(settlements[0], None, b"orphaned", b"", None, settlements, [])
    bet = bets[0]
    settled = bet.settled
    counting = [] if settled else [wager for wager in settlements if wager.currency == bet.currency]
    anomalies = _anomalies(bets, settlements, counting) if len(known) > 1 else []
    if settled:
        assert bet.bet_result_amount is not None
        status, net = b"won" if bet.bet_result == b"win" else b"lost", money.from_bytes(bet.bet_result_amount)
        return _row(bet, bet, status, b"A", net, [], anomalies)
    if not counting:
        return _row(bet, bet, b"open", b"B", None, [], anomalies)
    net = sum([money.from_bytes(wager.amount) for wager in counting])
    won = counting[0].event_name == b"win" if len(counting) == 1 else net > 0
    return _row(bet, bet, b"won" if won else b"lost", b"B", net, counting, anomalies)


def _once(settlements: list[Wager]) -> list[Wager]:
    """Each transaction_id once, the first in order; one without stands for itself."""
    first: dict[tuple[bool, bytes], Wager] = {}
    for wager in settlements:
        transaction = wager.transaction_id
        first.setdefault((False, wager.event_id) if transaction is None else (True, transaction), wager)
    return list(first.values())


def _anomalies(bets: list[Wager], settlements: list[Wager], counting: list[Wager]) -> list[bytes]:
    bet, odd = bets[0], set()
    for wager in settlements:
        if wager.currency != bet.currency:
            odd.add(b"currency_mismatch")
        if bet.player_id is not None and wager.player_id is not None and wager.player_id != bet.player_id:
            odd.add(b"player_mismatch")
    for wager in counting:
        if wager.event_time < bet.event_time:
            odd.add(b"settled_before_placed")
    if bet.settled and settlements:
        odd.add(b"double_reported")
    if len(bets) > 1:
        odd.add(b"multiple_bets")
    if len(counting) > 1:
        odd.add(b"multiple_settlements")
    return sorted(odd) if odd else []


_NOT_PLACED = (None, None, None)


def _row(
    about: Wager, bet: Wager | None, status: bytes, pattern: bytes, net: int | None, counting: list[Wager],
    odd: list[bytes],
) -> tuple[Any, ...]:  # fmt: skip
    placed = settled = None
    amounts: tuple[bytes | None, ...] = (None, None, None)
    if bet is not None:
        placed = bet.event_time
        if net is not None:
            payout = money.from_bytes(bet.amount) + net
            amounts = (money.to_bytes(net), money.to_bytes(payout), money.to_bytes(-net))
    if counting:
        settled = max([wager.event_time for wager in counting])
    elif pattern == b"A":
        settled = placed
    return (
        about.player_id,
        status,
        pattern,
        about.game_type,
        about.game_provider,
        about.currency,
        about.is_crypto,
        None if bet is None else bet.amount,
        *amounts,
        placed,
        settled,
        1 if pattern == b"A" else len(counting),
        odd,
        *(_NOT_PLACED if bet is None else PACKED.unpack(bet.coordinates)),
    )


def make() -> Agent:
    """The agent. Its state does not age, so its changelog is truncated by its owner."""
    return Agent(name="pairing", source=WAGERS, step=step, outputs=(BETS,), version=2, close=close, retention=None)


def agent(_: Settings) -> Agent:
    """The agent, by its settings."""
    return make()
