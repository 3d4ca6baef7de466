"""Requests that a gateway refuses, and events that are sent again with other contents."""

from typing import Any

import orjson

from cli.demo.event import Event
from cli.demo.vendors import PROGRAM

_BET = {"client_user_id": "player-1", "event_name": "bet", "timestamp": 1702963200, "currency": "EUR"}
_SCRIP = {"event_data": {}, "event_timestamp": "2024-01-15T10:30:00Z", "program_id": PROGRAM}
_WRONG: tuple[tuple[str, Any, int], ...] = (
    ("/v2/s2s/event", {**_BET, "transaction_id": "bet-x", "amount": -5}, 400),
    ("/api/v1/event", {"event_type": "click", "identifiers": {"player_id": "player-1"}}, 400),
    ("/api/v1/events", [{"source": "website", "event_type": "page_view", "data": {}}, {"data": "no"}], 400),
    ("/v1/events", {**_SCRIP, "idempotency_key": "x", "external_id": "a", "participant_id": PROGRAM}, 400),
    ("/events/00000000-0000-0000-0000-000000000000/data", {"identity": "player-1", "amount": 1}, 404),
    ("/v2/s2s/batch", {"not": "an array"}, 400),
)
REFUSED = tuple((path, orjson.dumps(body), status) for path, body, status in _WRONG)
"""Path, body and the status of the refusal: a wrong sign, missing parts, one bad event in a batch, an unknown id."""


def altered(event: Event) -> tuple[Any, int | None] | None:
    """The event with other contents under the same key, and how the gateway answers: None, it accepts it.

    None where the event's vendor has no such key, or gives it another meaning.
    """
    if event.name == "deposit":
        return {**event.body, "user_agent": "another device"}, None
    if event.dialect == "scrip":
        return {**event.body, "event_data": {**event.body["event_data"], "reason": "changed"}}, 409
    if event.dialect == "absinthe":
        return {**event.body, "amount": event.body["amount"] + 1}, 422
    return None
