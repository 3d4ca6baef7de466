"""Kafka's batches of records, around the records themselves (native/kafka.c): head, checksum, compression.

https://kafka.apache.org/documentation/#recordbatch; only format 2, the one that Kafka has written since 0.11.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import lz4.frame
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record.util import calc_crc32c

import native

_HEAD = struct.Struct(">qiibIhiqqqhii")
"""Offset, length, leader's epoch, format, checksum | attributes, count - 1, first and highest timestamp, producer's id,
epoch and sequence, count. The checksum is of what stands behind the bar."""
HEAD = _HEAD.size
_UNCOUNTED, _CHECKED = 12, 21
"""Bytes that the length does not count, and that the checksum is not of."""
_FORMAT, _FORMAT_AT = 2, 16
_CODEC, _APPENDED, _CONTROL = 0x07, 0x08, 0x20
"""Bits of the attributes: how it is packed, whether its timestamp is the broker's, whether it is no data."""
_LZ4 = 3
_UNPACK: dict[int, Callable[[memoryview], bytes]] = {
    0: bytes, 1: codec.gzip_decode, 2: codec.snappy_decode, _LZ4: lz4.frame.decompress, 4: codec.zstd_decode,
}  # fmt: skip


def _pack(records: bytes) -> bytes:
    """As Kafka's Java client reads it, which knows no linked blocks.

    As quick to write as snappy and twice as quick to read. (aiokafka writes lz4 of level 9: eight times as long.)
    """
    return lz4.frame.compress(  # type: ignore[no-any-return]
        records, block_size=lz4.frame.BLOCKSIZE_MAX64KB, block_linked=False, store_size=False
    )


def seal(batch: native.Batch, producer: tuple[int, int, int]) -> bytes:
    """The bytes to be sent, of a producer's (id, epoch, sequence); the batch is empty behind it."""
    count, first, last = batch.count, batch.first, batch.last
    records, attributes = batch.take(), 0
    packed = _pack(records)
    if len(packed) < len(records):
        records, attributes = packed, _LZ4
    head = _HEAD.pack(
        0, HEAD - _UNCOUNTED + len(records), -1, _FORMAT, 0, attributes, count - 1, first, last, *producer, count
    )
    checked = head[_CHECKED:] + records
    return head[: _CHECKED - 4] + struct.pack(">I", calc_crc32c(checked)) + checked


@dataclass(frozen=True, slots=True)
class Fetched:
    """A batch as it was fetched, packed."""

    data: memoryview
    fields: tuple[int, ...]

    @property
    def base_offset(self) -> int:
        """Offset of its first record, when it was written."""
        return self.fields[0]

    @property
    def next_offset(self) -> int:
        """Offset behind its last record."""
        return self.fields[0] + self.fields[6] + 1

    @property
    def is_control(self) -> bool:
        """Whether it holds marks of transactions, not records."""
        return bool(self.fields[5] & _CONTROL)

    def is_whole(self) -> bool:
        """Whether its checksum is right."""
        return bool(calc_crc32c(self.data[_CHECKED:]) == self.fields[4])

    def records(self) -> list[Any]:
        """Its records. Raises CorruptRecordException."""
        offset, _, _, _, _, attributes, _, first, last, *_, count = self.fields
        appended = last if attributes & _APPENDED else -1
        try:
            records = _UNPACK[attributes & _CODEC](self.data[HEAD:])
            return native.records(records, count, offset, first, appended)
        except Exception as error:  # the unpackers raise whatever the bytes make them stumble over
            raise CorruptRecordException(f"the batch at {offset} is none: {error!r}") from error


class Answer:
    """What a broker answered for a partition, as far as aiokafka's fetcher asks it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def size_in_bytes(self) -> int:
        return len(self.data)

    def has_next(self) -> bool:
        """Whether there is a whole batch in it."""
        data = self.data
        return len(data) >= HEAD and _UNCOUNTED + _HEAD.unpack_from(data)[1] <= len(data)


def fetched(data: bytes) -> Iterator[Fetched]:
    """The batches of a fetched answer; the last may be cut off, and is then left out. Raises CorruptRecordException."""
    at, view = 0, memoryview(data)
    while at + HEAD <= len(data):
        fields = _HEAD.unpack_from(data, at)
        end = at + _UNCOUNTED + fields[1]
        if fields[3] != _FORMAT or end < at + HEAD:
            raise CorruptRecordException(f"a batch of format {fields[3]} and {fields[1]} bytes")
        if end > len(data):
            return
        yield Fetched(view[at:end], fields)
        at = end
