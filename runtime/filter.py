"""Which keys a store does not hold, said from memory.

Most keys of dedup are new, and RocksDB asks the filter of every sorted run before it says so: with ten million keys
3 µs, half of a step. Here it is one bit, whatever the number of keys (docs/performance/streams.md).

Python's hash of bytes is of this process alone, with a secret seed, so that nobody can choose keys that collide; the
filter never leaves memory. It decides only how long an answer takes.
"""

from collections.abc import Collection

LEAST = 1 << 17
"""Bytes of the smallest filter."""
SPACE = 4
"""Bytes at least for each key that is known when a filter is made, which has room for one key a byte."""


class Filter:
    """One bit for each key's hash. A key that was added is always found; of others one in eight is when it is full."""

    __slots__ = ("_bits", "_mask", "room")

    def __init__(self, keys: int) -> None:
        """For a store of about so many ``keys``."""
        size = max(LEAST, 1 << (SPACE * keys - 1).bit_length())
        self._bits, self._mask = bytearray(size), size - 1
        self.room = size
        """Keys that may still be added before more than an eighth of the bits are set."""

    @classmethod
    def unknown(cls) -> "Filter":
        """A filter that finds every key, and has no room."""
        found = cls(0)
        found._bits, found._mask, found.room = bytearray(b"\xff"), 0, 0
        return found

    def add(self, keys: Collection[bytes]) -> None:
        """These are held from now on."""
        bits, mask = self._bits, self._mask
        for hashed in map(hash, keys):
            bits[hashed >> 3 & mask] |= 1 << (hashed & 7)
        self.room -= len(keys)

    def may_hold(self, key: bytes) -> int:
        """0 for a key that was never added."""
        hashed = hash(key)
        return self._bits[hashed >> 3 & self._mask] & 1 << (hashed & 7)
