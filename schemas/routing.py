"""The fields by which agents route an event, read without the rest of it."""

from schemas.codec import Decode
from schemas.registry import EVENT

FIRST = ("event_id", "fingerprint", "dedup_key", "identity", "bet_key")
"""The first five fields of every version of the schema (a test holds that), so that reading ends behind them."""

route: Decode = EVENT.reader(*FIRST, text=False)
"""(event_id, fingerprint, dedup key or None, identity, bet_key) of an encoded event, as bytes. Raises DecodeError."""
