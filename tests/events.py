"""Canonical events for tests, with what a gateway would have derived filled in."""

from hashlib import sha256
from typing import Any

from schemas import money
from schemas.keys import bet_key, identity_key, key, uuid5_bytes
from schemas.registry import EVENT

T0 = 1_790_000_000_000
_NAMES = [field["name"] for field in EVENT.latest.schema["fields"]]


def event(**given: Any) -> dict[str, Any]:
    """An event; amounts are given as ints of whole units, ``dedup`` as any text, None for none."""
    fields: dict[str, Any] = dict.fromkeys(_NAMES)
    dedup = given.pop("dedup", None)
    nth = given.pop("nth", 0)
    fields |= {"tenant": "acme", "dialect": "revosurge", "event_name": "login", "event_time": T0, "properties": "{}"}
    fields |= given
    fields.setdefault("received_at", None)
    if fields["received_at"] is None:
        fields["received_at"] = max(T0, fields["event_time"])
    for name in ("amount", "bet_result_amount"):
        if isinstance(fields[name], int):
            fields[name] = money.to_bytes(fields[name] * money.ONE)
    if dedup is not None:
        fields["dedup_key"] = key(fields["tenant"], fields["dialect"], "test", dedup)
    fields["payload"] = repr(sorted(given.items())).encode()
    fields["event_id"] = uuid5_bytes(fields["dedup_key"] or repr((nth, sorted(given.items()))))
    fields["fingerprint"] = sha256(fields["payload"]).digest()[:16]
    fields["identity"] = identity_key(fields["tenant"], fields["player_id"], fields["device_id"])
    fields["bet_key"] = bet_key(
        fields["tenant"], fields["event_name"], fields["amount"], fields["transaction_id"],
        fields["parent_transaction_id"],
    )  # fmt: skip
    return fields


def record_key(fields: dict[str, Any]) -> bytes:
    """Its record key in ingest.events."""
    found: bytes = fields["dedup_key"].encode() if fields["dedup_key"] else fields["event_id"]
    return found
