"""RevoSurge's Server Events API: one flat object an event, custom properties beside the documented fields.

Document: seeds/revosurge.txt; where it leaves something open, spec/dialects.md. Decided here: null and, in a field
that may be missing, "" count as missing; the text of an ip_address is not judged.
"""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from gateway import jsontext, values
from gateway.dialects.base import Accepted, Dialect, Fault, Request, Route
from gateway.dialects.description import IDEMPOTENCY_KEY, Counted, array_of, schema
from gateway.drafts import Draft, Drafts, ids
from gateway.shape import Amount, Name, Open, Shape, UnixTime, fields_of
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


SHAPE = Shape(RevoSurgeEvent)
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
    event, faults = SHAPE.read(value)
    faults += _rules(event, fields_of(faults), received_at)
    if faults:
        return Draft({}, {}, faults)
    columns = {
        "event_name": event.event_name,
        "event_time": event.timestamp,
        "player_id": event.client_user_id,
        "transaction_id": event.transaction_id or None,
        "parent_transaction_id": event.parent_transaction_id or None,
        "amount": None if event.amount is None else to_bytes(event.amount),
        "currency": event.currency or None,
        "is_crypto": event.is_crypto,
        "bet_result": event.bet_result,
        "bet_result_amount": None if event.bet_result_amount is None else to_bytes(event.bet_result_amount),
        "game_type": event.game_type or None,
        "game_provider": event.game_provider or None,
        "click_id": event.click_id or None,
        "utm_source": event.utm_source or None,
        "utm_medium": event.utm_medium or None,
        "utm_campaign": event.utm_campaign or None,
        "ip_address": event.ip_address or None,
        "user_agent": event.user_agent or None,
    }
    return Draft(columns, event.__pydantic_extra__ or {})


def _rules(event: RevoSurgeEvent, faulty: frozenset[str], received_at: int) -> list[Fault]:
    """The rules between fields; a field that is faulty by itself is not told of again."""
    name = event.event_name
    faults = [
        Fault(needed, f"is required for {name}")
        for needed in NEEDED.get(name, ())
        if getattr(event, needed) in (None, "") and needed not in faulty
    ]
    if event.timestamp is not None and (wrong := values.ahead(event.timestamp, received_at)):
        faults.append(Fault("timestamp", wrong))
    faults += _sign("amount", event.amount, name, name)
    if event.bet_result is None and event.bet_result_amount is None and faulty.isdisjoint(_RESULT):
        return faults
    return faults + _result(event, faulty)


_RESULT = ("bet_result", "bet_result_amount")


def _result(event: RevoSurgeEvent, faulty: frozenset[str]) -> list[Fault]:
    """bet_result and bet_result_amount come together and only on a bet."""
    faults = []
    for field, other in (_RESULT, _RESULT[::-1]):
        if getattr(event, field) is None and field not in faulty:
            faults.append(Fault(field, f"is required with {other}"))
        elif event.event_name != "bet" and not faulty & {field, "event_name"}:
            faults.append(Fault(field, "may only stand on a bet"))
    return faults + _sign("bet_result_amount", event.bet_result_amount, event.bet_result, f"a {event.bet_result}")


def _sign(field: str, amount: int | None, kind: str | None, whose: str) -> list[Fault]:
    """A wrong sign corrupts GGR: a loss is 0 or less, every other movement of money 0 or more."""
    if amount is None or kind not in MONEY:
        return []
    if kind == "loss" and amount > 0:
        return [Fault(field, f"must be 0 or less for {whose}")]
    if kind != "loss" and amount < 0:
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
    events = drafts.all(jsontext.read_array(request.body, BATCH), read)
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
