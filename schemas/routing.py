"""The fields by which agents route an event, read without decoding it.

The first five fields of an event stay first in every version of its schema (a test holds that), so that they can be cut
out of the bytes: event_id, fingerprint, whether there is a dedup key, identity, bet_key.
"""

from schemas.codec import SHORT, DecodeError, long_text
from schemas.registry import EVENT, HEADER

FIRST = ("event_id", "fingerprint", "dedup_key", "identity", "bet_key")
_KEYED = HEADER + 32


def route(value: bytes) -> tuple[bytes, bytes, bool, bytes, bytes]:
    """(event_id, fingerprint, keyed, identity, bet_key) of an encoded event. Raises DecodeError, UnknownSchema."""
    if value[:HEADER] not in EVENT.versions:
        EVENT.version_of(value)  # raises, and says why
    try:
        keyed = value[_KEYED] == 2
        at = _KEYED + 1
        if keyed:
            n = SHORT[value[at]]
            at = at + n if n else long_text(value, at)[1]
        n = SHORT[value[at]]
        start, middle = (at + 1, at + n) if n else long_text(value, at)
        identity = value[start:middle]
        n = SHORT[value[middle]]
        start, end = (middle + 1, middle + n) if n else long_text(value, middle)
    except IndexError as error:
        raise DecodeError(f"not an event: it ends within its key fields, after {len(value)} bytes") from error
    if end > len(value):
        raise DecodeError(f"not an event: its key fields end at {end}, it has {len(value)} bytes")
    return value[HEADER : HEADER + 16], value[HEADER + 16 : _KEYED], keyed, identity, value[start:end]
