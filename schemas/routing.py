"""The fields by which agents route an event, read without decoding it.

The first five fields of an event stay first in every version of its schema (a test holds that), so that they can be cut
out of the bytes: event_id, fingerprint, whether there is a dedup key, identity, bet_key.
"""

from schemas.codec import DecodeError, read_varint
from schemas.registry import EVENT, HEADER

FIRST = ("event_id", "fingerprint", "dedup_key", "identity", "bet_key")
_KEYED = HEADER + 32


def route(value: bytes) -> tuple[bytes, bytes, bool, bytes, bytes]:
    """(event_id, fingerprint, keyed, identity, bet_key) of an encoded event. Raises DecodeError, UnknownSchema."""
    if value[:HEADER] not in EVENT.versions:
        EVENT.version_of(value)  # raises, and says why
    try:
        at = _KEYED
        keyed = value[at] == 2
        at += 1
        if keyed:
            n, at = _length(value, at)
            at += n
        n, at = _length(value, at)
        middle = at + n
        identity = value[at:middle]
        n, at = _length(value, middle)
        end = at + n
    except IndexError as error:
        raise DecodeError(f"not an event: it ends within its key fields, after {len(value)} bytes") from error
    if end > len(value):
        raise DecodeError(f"not an event: its key fields end at {end}, it has {len(value)} bytes")
    return value[HEADER : HEADER + 16], value[HEADER + 16 : _KEYED], keyed, identity, value[at:end]


def _length(value: bytes, at: int) -> tuple[int, int]:
    n = value[at]
    if n < 128 and not n & 1:
        return n >> 1, at + 1
    n, at = read_varint(value, at)
    if n < 0:
        raise DecodeError("not an event: a negative length")
    return n, at
