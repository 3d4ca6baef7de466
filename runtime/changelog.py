"""The format of a changelog: groups of state changes, each closed by a marker (design.md, rule 3.4).

A record of the changelog is one part of a group; many changes share a record. A group that fits into one record, which
is the usual case, is atomic by itself; the parts of a larger one count only once the last part is there. The last part
carries the marker.

    part    = header, changes, marker
    header  = 1 format | 16 writer | 8 group | 4 part | 4 parts, or 0 in all but the last | 4 bytes of marker
    change  = 1 kind | 4 bytes of key | 4 bytes of value | 8 input offset, then key and value

Errors: ChangelogError.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

import native

_HEADER = struct.Struct(">B16sQIII")
_CHANGE = struct.Struct(">BIIq")
_FORMAT = 1
PUT, DELETE, CARRIED = 0, 1, 2
PART = 512 * 1024
"""Bytes of changes after which a part is closed; a single larger value has a part of its own."""

Change = tuple[int, bytes, bytes, int]
"""(kind, key, value, offset of the input record that last changed it)."""


class ChangelogError(Exception):
    """The changelog is not what this version writes, or has lost something that it should hold."""


@dataclass(slots=True)
class Marker:
    """What an agent has done with one input partition, at the end of a group."""

    applied: int = -1
    """Offset of the last input record whose outputs and changes are durable."""
    before: int = -1
    """``applied`` of the group before: groups are contiguous."""
    log: int = 0
    """Incarnation of the input topic."""
    epoch: int = 0
    version: int = 0
    """Version of the agent's logic."""
    clock: int = -1
    """Running maximum of the input's record timestamps, milliseconds."""
    marks: dict[bytes, bytes] = field(default_factory=dict)
    """Watermarks: the furthest place per source (runtime/origin.py)."""
    meta: dict[str, Any] = field(default_factory=dict)
    """The agent's own small facts."""
    total: int = 0
    """Changes that the log has had so far, those carried again included."""
    written: int = 0
    """When, by the writer's clock, milliseconds: only to keep a fresh marker in the log, never for logic."""

    def encode(self) -> bytes:
        fields = {name: getattr(self, name) for name in self.__slots__}
        fields["marks"] = {source.hex(): place.hex() for source, place in self.marks.items()}
        return orjson.dumps(fields)

    @classmethod
    def decode(cls, data: bytes) -> "Marker":
        """Raises ChangelogError."""
        try:
            fields = orjson.loads(data)
            marks = fields.pop("marks").items()
            return cls(**fields, marks={bytes.fromhex(source): bytes.fromhex(place) for source, place in marks})
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ChangelogError(f"not a marker: {error}") from error


def encode(changes: Iterable[Change], marker: Marker, writer: bytes, group: int) -> list[bytes]:
    """The group's parts, in the order in which they must be appended."""
    parts = native.packed_changes(changes, PART)
    last, closing = len(parts) - 1, marker.encode()
    heads = [_HEADER.pack(_FORMAT, writer, group, i, 0, 0) for i in range(last)]
    heads.append(_HEADER.pack(_FORMAT, writer, group, last, last + 1, len(closing)))
    parts[last] += closing
    return list(map(bytes.__add__, heads, parts))


def changes_of(data: bytes, start: int, end: int) -> Iterator[Change]:
    """The changes between two positions of a part."""
    unpack, size = _CHANGE.unpack_from, _CHANGE.size
    while start < end:
        kind, keys, values, offset = unpack(data, start)
        start += size
        middle = start + keys
        stop = middle + values
        yield kind, data[start:middle], data[middle:stop], offset
        start = stop


@dataclass(slots=True)
class Group:
    """A complete group."""

    marker: Marker
    parts: list[bytes]

    def changes(self) -> Iterator[Change]:
        for part in self.parts:
            closing = _HEADER.unpack_from(part)[5]
            yield from changes_of(part, _HEADER.size, len(part) - closing)


class Reader:
    """Puts groups together from parts; writers may interleave, and any may stop in the middle of a group."""

    def __init__(self) -> None:
        self._open: dict[bytes, tuple[int, list[bytes]]] = {}

    @property
    def pending(self) -> bool:
        """Whether a group has begun and not ended."""
        return bool(self._open)

    def add(self, data: bytes) -> Group | None:
        """The group that this part completes, if it does. Raises ChangelogError."""
        if len(data) < _HEADER.size or data[0] != _FORMAT:
            raise ChangelogError(f"not a changelog record: it begins with {data[:8].hex()}")
        _, writer, group, index, parts, closing = _HEADER.unpack_from(data)
        if index == 0:
            self._open[writer] = (group, [])  # whatever this writer had begun, it gave up
        known, found = self._open.get(writer, (None, []))
        if known != group or len(found) != index:
            return None  # the group's beginning was deleted, or never arrived
        found.append(data)
        if index + 1 != parts:
            return None
        del self._open[writer]
        return Group(Marker.decode(data[len(data) - closing :]), found)
