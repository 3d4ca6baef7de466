"""Which keys a store does not hold, said from memory.

Most keys of dedup are new, and RocksDB asks the filter of every sorted run before it says so: with ten million keys
3 µs, half of a step. Here it is one bit, whatever the number of keys (docs/performance/streams.md).

Python's hash of bytes is of this process alone, with a secret seed, so that nobody can choose keys that collide; the
filter never leaves memory. It decides only how long an answer takes.
"""

import native

LEAST = 1 << 17
"""Bytes of the smallest filter."""
SPACE = 4
"""Bytes at least for each key that is known when a filter is made, which has room for one key a byte."""


class Filter(native.Filter):
    """One bit for each key's hash. A key that was added is always found; of others one in eight is when it is full.

    ``room`` is how many keys may still be added before more than an eighth of the bits are set.
    """

    __slots__ = ()

    def __new__(cls, keys: int) -> "Filter":
        """For a store of about so many ``keys``."""
        return super().__new__(cls, max(LEAST, 1 << (SPACE * keys - 1).bit_length()))

    @classmethod
    def unknown(cls) -> "Filter":
        """A filter that finds every key, and has no room."""
        return native.Filter.__new__(cls, 0)
