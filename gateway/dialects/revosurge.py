"""RevoSurge's Server Events API: one flat object an event, custom properties beside the documented fields.

Document: seeds/revosurge.txt; where it leaves something open, spec/dialects.md. Decided here: null and, in a field
that may be missing, "" count as missing; the text of an ip_address is not judged.
"""

from itertools import repeat
from typing import Any, Literal

from pydantic import ConfigDict, Field

from gateway import jsontext, values
from gateway.columns import Column, Members
from gateway.dialects.base import Accepted, Dialect, Fault, Request, Route
from gateway.dialects.description import IDEMPOTENCY_KEY, Counted, array_of, schema
from gateway.drafts import Draft, Drafts, ids
from gateway.flat import Flat
from gateway.shape import Amount, Name, Open, UnixTime, fields_of
from schemas.money import to_bytes

NAME = "revosurge"
BATCH = 1000

DEPOSIT: dict[str, Any] = {
    "client_user_id": "user_001",
    "click_id": "clk_998877",
    "ip_address": "203.0.113.1",
    "event_name": "deposit",
    "transaction_id": "tx_554433",
    "timestamp": 1702963200,
    "amount": 50.00,
    "currency": "USD",
}
BET: dict[str, Any] = {
    "client_user_id": "user_001",
    "event_name": "bet",
    "game_type": "slot",
    "game_provider": "EA",
    "currency": "USD",
    "amount": 5.00,
    "transaction_id": "tx_554434",
    "timestamp": 1702963200123,
    "is_crypto": False,
    "bet_result": "win",
    "bet_result_amount": 1.00,
}
WIN: dict[str, Any] = {
    "client_user_id": "user_001",
    "event_name": "win",
    "game_type": "poker",
    "game_provider": "GGP",
    "currency": "USD",
    "amount": 5.00,
    "transaction_id": "tx_554436",
    "parent_transaction_id": "tx_554435",
    "timestamp": 1702963200123,
    "is_crypto": False,
}


class RevoSurgeEvent(Open):
    """An event; any further property is accepted."""

    model_config = ConfigDict(json_schema_extra={"examples": [DEPOSIT, BET, WIN]})

    client_user_id: Name = Field(description="Unique identifier of the user in your system")
    event_name: Name = Field(description='Name of the event, such as "register", "login", "deposit"')
    timestamp: UnixTime
    click_id: str | None = Field(None, description="Unique ID of the ad click; suggested")
    ip_address: str | None = Field(
        None, description="IP address of the user; required for register, login, deposit, withdraw"
    )
    user_agent: str | None = Field(None, description="User agent of the browser or device")
    game_type: str | None = Field(None, description='Type of the game, such as "slot"')
    game_provider: str | None = Field(None, description="Provider of the game")
    transaction_id: str | None = Field(
        None, description="Unique ID of the transaction; required for deposit, withdraw, bet, win, loss"
    )
    parent_transaction_id: str | None = Field(
        None, description="transaction_id of the bet that a win or loss settles; required for win and loss"
    )
    amount: Amount | None = None
    currency: str | None = Field(None, description="ISO code, or any code of a crypto currency; required with amount")
    is_crypto: bool | None = Field(None, description="Whether the transaction is crypto-based")
    bet_result: Literal["win", "loss"] | None = Field(None, description="Result of a bet that is settled at once")
    bet_result_amount: Amount | None = None
    utm_source: str | None = None
    utm_medium: str | None = None
    utm_campaign: str | None = None


EVENT = Flat(RevoSurgeEvent)
MONEY = frozenset(("deposit", "withdraw", "bet", "win", "loss"))
NEEDED: dict[str, tuple[str, ...]] = {
    "register": ("ip_address",),
    "login": ("ip_address",),
    "deposit": ("ip_address", "transaction_id", "amount", "currency"),
    "withdraw": ("ip_address", "transaction_id", "amount", "currency"),
    "bet": ("transaction_id", "amount", "currency"),
    "win": ("transaction_id", "amount", "currency", "parent_transaction_id"),
    "loss": ("transaction_id", "amount", "currency", "parent_transaction_id"),
}
"""What an event of this name has to carry besides client_user_id, event_name and timestamp."""


def read(value: dict[str, Any], received_at: int) -> Draft:
    """An event as canonical columns, with its faults."""
    columns, properties, faults = EVENT.read(value)
    faults += _rules(columns, fields_of(faults), received_at)
    if faults:
        return Draft({}, {}, faults)
    columns["event_time"] = columns.pop("timestamp")
    columns["player_id"] = columns.pop("client_user_id")
    if "amount" in columns:
        columns["amount"] = to_bytes(columns["amount"])
    if "bet_result_amount" in columns:
        columns["bet_result_amount"] = to_bytes(columns["bet_result_amount"])
    return Draft(columns, properties, faults)


def read_all(members: Members, received_at: int) -> tuple[dict[str, Column], Members]:
    """Events of one shape as canonical columns. Raises ValueError where one may have a fault."""
    columns, properties = EVENT.columns(members)
    names = columns["event_name"]
    if any(field not in columns for name in set(names) for field in NEEDED.get(name, ())):
        raise ValueError("a field is missing")
    if values.ahead(max(columns["timestamp"]), received_at):
        raise ValueError("too far ahead")
    if not columns.keys().isdisjoint(_RESULT):
        for result in zip(names, columns.get("bet_result", ()), columns.get("bet_result_amount", ()), strict=True):
            if _result(dict(zip(("event_name", *_RESULT), result, strict=True)), _NONE):
                raise ValueError("not a result of a bet")
    columns["event_time"] = columns.pop("timestamp")
    columns["player_id"] = columns.pop("client_user_id")
    if "amount" in columns:
        if any(map(_sign, repeat("amount"), columns["amount"], names, names)):
            raise ValueError("a wrong sign")
        columns["amount"] = list(map(to_bytes, columns["amount"]))
    if "bet_result_amount" in columns:
        columns["bet_result_amount"] = list(map(to_bytes, columns["bet_result_amount"]))
    return columns, properties


_NONE: frozenset[str] = frozenset()


def _rules(found: dict[str, Any], faulty: frozenset[str], received_at: int) -> list[Fault]:
    """The rules between fields; a field that is faulty by itself is not told of again."""
    name, time, amount = found.get("event_name", ""), found.get("timestamp"), found.get("amount")
    missing = [field for field in NEEDED.get(name, ()) if field not in found and field not in faulty]
    faults = [Fault(field, f"is required for {name}") for field in missing]
    if time is not None and (wrong := values.ahead(time, received_at)):
        faults.append(Fault("timestamp", wrong))
    if amount is not None:
        faults += _sign("amount", amount, name, name)
    if "bet_result" in found or "bet_result_amount" in found or faulty:
        faults += _result(found, faulty)
    return faults


_RESULT = ("bet_result", "bet_result_amount")


def _result(found: dict[str, Any], faulty: frozenset[str]) -> list[Fault]:
    """bet_result and bet_result_amount come together and only on a bet."""
    sent = [field for field in _RESULT if field in faulty or field in found]
    if found.get("event_name") != "bet" and "event_name" not in faulty:
        return [Fault(field, "may only stand on a bet") for field in sent if field not in faulty]
    faults = []
    if len(sent) == 1:
        missing = _RESULT[sent == ["bet_result"]]
        faults.append(Fault(missing, f"is required with {sent[0]}"))
    if len(sent) == 2 and faulty.isdisjoint(sent):
        result = found["bet_result"]
        faults += _sign("bet_result_amount", found["bet_result_amount"], result, f"a {result}")
    return faults


def _sign(field: str, amount: int, kind: str, whose: str) -> list[Fault]:
    """A wrong sign corrupts GGR: a loss is 0 or less, every other movement of money 0 or more."""
    if kind == "loss" and amount > 0:
        return [Fault(field, f"must be 0 or less for {whose}")]
    if kind != "loss" and kind in MONEY and amount < 0:
        return [Fault(field, f"must be 0 or more for {whose}")]
    return []


def single(request: Request) -> Accepted:
    """POST /v2/s2s/event."""
    drafts = Drafts.of(request, NAME, by_content=True)
    events = [drafts.one(jsontext.read(request.body), read)]
    return drafts.accepted(200, {"accepted": 1, "event_ids": ids(events)}, events)


def batch(request: Request) -> Accepted:
    """POST /v2/s2s/batch."""
    drafts = Drafts.of(request, NAME, by_content=True)
    events = drafts.all(jsontext.read_array(request.body, BATCH), read, read_all)
    return drafts.accepted(200, {"accepted": len(events), "event_ids": ids(events)}, events)


DIALECT = Dialect(
    NAME,
    routes=(
        Route(
            "POST",
            "/v2/s2s/event",
            single,
            summary="Single ingest event",
            body=schema(RevoSurgeEvent),
            answers={200: schema(Counted)},
            example=DEPOSIT,
            headers=IDEMPOTENCY_KEY,
        ),
        Route(
            "POST",
            "/v2/s2s/batch",
            batch,
            summary="Batch ingest events",
            body=array_of(RevoSurgeEvent, BATCH),
            answers={200: schema(Counted)},
            example=[DEPOSIT, BET, WIN],
            headers=IDEMPOTENCY_KEY,
        ),
    ),
    limit=60,
    refusals=(400, 401, 429, 500),
    unavailable=500,
)
