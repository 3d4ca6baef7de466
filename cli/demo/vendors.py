"""How each vendor's client says an event: the bodies of seeds' documents, filled in by the story."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from cli.demo.event import Event

PROGRAM = str(UUID(int=0x550E8400E29B41D4A716446655440000))
"""Scrip's program."""
METRICS = {
    "minutes_played": "Minutes of a visit",
    "missions_done": "Missions done in a visit",
}
"""Absinthe's events that are registered before data is sent, with their descriptions."""
UNREGISTERED = "friends_invited"
CAMPAIGN = "loyalty"
"""X-Campaign-ID of all of absinthe's."""


def number(amount: Decimal) -> orjson.Fragment:
    """A JSON number with the amount's own digits."""
    return orjson.Fragment(f"{amount:f}")


def revosurge(at: int, player: str, name: str, **fields: Any) -> Event:
    """Accounts, money and bets."""
    body = {"client_user_id": player, "event_name": name, "timestamp": at, **fields}
    return Event("revosurge", "/v2/s2s/event", name, at, player, body)


def gamerebellion(
    at: int, identifiers: dict[str, str], name: str, payload: dict[str, Any], utm: dict[str, str] | None = None
) -> Event:
    """What players do, and the ads that brought them."""
    body: dict[str, Any] = {"event_type": name, "identifiers": identifiers, "payload": payload, "timestamp": at}
    if utm is not None:
        body["utm"] = utm
    identity = identifiers.get("player_id") or identifiers["device_id"]
    return Event("gamerebellion", "/api/v1/event", name, at, identity, body)


def session(at: int, player: str, verb: str) -> Event:
    """A call of gamerebellion's session routes: start, stop or end."""
    body = {"identifiers": {"player_id": player}, "timestamp": at}
    return Event("gamerebellion", f"/api/v1/sessions/{verb}", f"session_{verb}", at, player, body)


def adwize(at: int, player: str, name: str, **data: Any) -> Event:
    """What the shop and the website report."""
    body = {"source": "website", "event_type": name, "data": {"user_id": player, "timestamp": at, **data}}
    return Event("adwize", "/api/v1/events", name, at, player, body)


def scrip(at: int, player: str, name: str, key: str, **data: Any) -> Event:
    """Rewards."""
    body = {
        "event_data": {"type": name, **data},
        "event_timestamp": datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds"),
        "idempotency_key": key,
        "program_id": PROGRAM,
        "external_id": player,
    }
    return Event("scrip", "/v1/events", name, at, player, body)


def absinthe(at: int, player: str, name: str, amount: int, registered: str | None) -> Event:
    """A metric; ``registered`` is the id of its event, None where it needs no registration."""
    when = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    body: dict[str, Any] = {"identity": player, "amount": amount, "event_timestamp": when}
    if registered is None:
        body["name"] = name
    path = f"/events/{registered or ''}/data".replace("//", "/")
    return Event("absinthe", path, name, at, player, body, CAMPAIGN)
