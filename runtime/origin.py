"""The header ``origin``: which input of which agent a record comes from (design.md, rule 3.3).

    1 byte format | 4 epoch | 8 log number | 4 partition | agent's name  ||  8 offset | 4 index among its outputs

Up to ``||`` it names a source whose outputs arrive in order; the twelve bytes behind are the place in it, and compare
as bytes in that order. So a watermark is a comparison of two byte strings, without unpacking.
"""

import struct
from dataclasses import dataclass

import native

HEADER = "origin"
OriginError = native.OriginError
"""The header is not an origin."""
LETTER = "letter"
"""Header of a replayed dead letter: 16 bytes of its id, then the stage that shall handle it, alone."""

_SOURCE = struct.Struct(">BIqI")
_PLACE = struct.Struct(">qI")
PLACE = _PLACE.size
_FORMAT = 1


def source(agent: str, epoch: int, log: int, partition: int) -> bytes:
    """The part of an origin that is the same for a whole input partition."""
    return _SOURCE.pack(_FORMAT, epoch, log, partition) + agent.encode()


place = _PLACE.pack
"""(offset, index) as the part of an origin that tells outputs of one source apart, in order."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin, unpacked."""

    agent: str
    epoch: int
    log: int
    partition: int
    offset: int
    index: int

    @classmethod
    def parse(cls, header: bytes) -> "Origin":
        """Raises OriginError."""
        if len(header) < _SOURCE.size + PLACE or header[0] != _FORMAT:
            raise OriginError(f"not an origin: {header.hex()}")
        _, epoch, log, partition = _SOURCE.unpack_from(header)
        offset, index = _PLACE.unpack(header[-PLACE:])
        return cls(header[_SOURCE.size : -PLACE].decode(), epoch, log, partition, offset, index)


CAUSE = "cause"
"""Header with an origin that says what ingest record caused a record, where that is not the one that its own origin
names: in all that agents make of other agents' records, and of replayed ones."""

COORDINATES = struct.Struct(">qI")
PACKED = struct.Struct(">qIq")
"""log, partition and offset, as packed_coordinates gives them."""


def ingest_coordinates(header: bytes) -> tuple[int, int, int]:
    """(log, partition, offset) of the input record, as the sink wants it for every event. Raises OriginError."""
    if not header:
        raise OriginError(f"the header {HEADER} is missing: no agent wrote this record")
    if len(header) < _SOURCE.size + PLACE or header[0] != _FORMAT:
        raise OriginError(f"not an origin: {header.hex()}")
    log, partition = COORDINATES.unpack_from(header, 5)
    return log, partition, int.from_bytes(header[-12:-4], "big", signed=True)


packed_coordinates = native.packed_coordinates
"""(header): the same, packed as PACKED says. Raises OriginError."""
