"""Kafka's batches, ours against aiokafka's: what one writes, the other reads."""

import contextlib
from typing import Any

import pytest
import xxhash
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

import native
from runtime import batches
from runtime.batches import Answer, fetched
from runtime.producer import Batch
from schemas.keys import partition_of

TIMES = st.integers(0, 1 << 44)
MAYBE = st.none() | st.binary(max_size=300)
HEADERS = st.lists(st.tuples(st.text(max_size=20).filter(lambda text: text.isprintable()), st.binary(max_size=40)))
RECORDS = st.lists(st.tuples(TIMES, MAYBE, MAYBE, HEADERS.map(lambda found: found[:16])), min_size=1, max_size=20)
Fields = tuple[int, bytes | None, bytes | None, list[Any]]


def batch(records: list[Fields]) -> Batch:
    made = Batch()
    for record in records:
        assert made.add(*record)
    return made


def fields(record: Any) -> Fields:
    return record.timestamp, record.key, record.value, list(record.headers)


def theirs(records: list[Fields], codec: int = 0, offset: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, 0, 5, 6, 7, 1 << 20)
    for i, (timestamp, key, value, headers) in enumerate(records):
        builder.append(i, timestamp, key, value, headers)
    return offset.to_bytes(8, "big") + bytes(builder.build())[8:]


@given(RECORDS)
@settings(max_examples=200, deadline=None)
def test_what_we_write_aiokafka_reads(records: list[Fields]) -> None:
    ours = batch(records)
    ours._set_producer_state(5, 6, 7)
    assert ours.record_count() == len(records)
    read = DefaultRecordBatch(bytearray(ours._build()))
    assert read.validate_crc()
    assert (read.producer_id, read.producer_epoch, read.base_sequence) == (5, 6, 7)
    assert (read.first_timestamp, read.max_timestamp) == (records[0][0], max(record[0] for record in records))
    assert read.next_offset == len(records)
    assert [fields(record) for record in read] == records
    assert bytes(ours._build()) == bytes(ours._build())


def test_packed_blocks_stand_alone_as_kafkas_java_wants_them() -> None:
    ours = batch([(1, None, b"x" * 100_000, []), (2, None, b"y" * 100_000, [])])
    packed = bytes(ours._build())[batches.HEAD :]
    assert packed[:4] == bytes.fromhex("04224d18")
    assert packed[4] & 0x20, "blocks are linked"
    assert not packed[4] & 0x08, "says its size"


@given(RECORDS, st.integers(0, 4), st.integers(0, 1 << 50))
@settings(max_examples=200, deadline=None)
def test_what_aiokafka_writes_we_read(records: list[Fields], codec: int, offset: int) -> None:
    data = theirs(records, codec, offset)
    (found,) = fetched(data)
    assert found.is_whole()
    assert not found.is_control
    assert (found.base_offset, found.next_offset) == (offset, offset + len(records))
    read = found.records()
    assert [fields(record) for record in read] == records
    assert [record.offset for record in read] == list(range(offset, offset + len(records)))


def test_the_brokers_time_counts_where_the_batch_says_so() -> None:
    data = bytearray(theirs([(5, b"k", b"v", []), (6, None, None, [])]))
    data[22] |= 0x08
    data[35:43] = (99).to_bytes(8, "big")
    (found,) = fetched(bytes(data))
    assert [record.timestamp for record in found.records()] == [99, 99]


def test_batches_follow_each_other_and_the_last_may_be_cut_off() -> None:
    one = theirs([(1, b"a", b"b", [])], offset=4)
    for end in range(1, len(one)):
        answer = Answer(one + one[:end])
        assert answer.has_next()
        assert [batch.base_offset for batch in fetched(answer.data)] == [4]
        assert not Answer(one[:end]).has_next()
        assert list(fetched(one[:end])) == []
    assert [batch.next_offset for batch in fetched(one + one)] == [5, 5]


@given(RECORDS, st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_a_corrupt_batch_or_another(records: list[Fields], data: st.DataObject) -> None:
    raw = bytearray(theirs(records))
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(CorruptRecordException):
        for found in fetched(bytes(raw)):
            assert found.is_whole() == (at < 8 or 12 <= at < 17)  # a shorter length leaves bytes out
            for record in found.records():
                fields(record)


@pytest.mark.parametrize("count", [-1, 0, 1, 3, 1 << 30])
def test_another_count_of_records_is_a_corrupt_batch(count: int) -> None:
    data = bytearray(theirs([(1, b"a", b"b", []), (2, b"a", b"b", [])]))
    data[57:61] = count.to_bytes(4, "big", signed=True)
    (found,) = fetched(bytes(data))
    with pytest.raises(CorruptRecordException):
        found.records()


def test_other_formats_are_refused() -> None:
    data = bytearray(theirs([(1, b"a", b"b", [])]))
    data[16] = 1
    with pytest.raises(CorruptRecordException):
        list(fetched(bytes(data)))


def test_null_headers_are_read() -> None:
    record = bytes([0, 0, 0, 1, 1, 2, 2]) + b"h" + bytes([1])  # attributes, times, null key and value, one header
    (found,) = native.records(bytes([2 * len(record)]) + record, 1, 0, 0, -1)
    assert found.headers == [("h", None)]


def test_a_full_batch_takes_no_more_but_a_single_record_may_be_larger() -> None:
    small = native.Batch(100)
    assert small.add(1, None, b"x" * 1000, [])
    assert not small.add(1, None, b"x", [])
    roomy = native.Batch(1000)
    count = 0
    while roomy.add(1, b"key", b"v" * 90, [("h", b"1")]):
        count += 1
    assert count == roomy.count == 9
    assert roomy.size <= 1000
    assert roomy.take()
    assert not roomy.add(1, None, None, [])


def test_what_is_no_record_is_refused() -> None:
    made, wrong = Batch(), ()  # type: tuple[Batch, Any]
    for wrong in (
        (1, "key", b"", []), (1, b"", "value", []), ("1", b"", b"", []), (1, b"", b"", [(b"h", b"")]),
        (1, b"", b"", [("h", "v")]), (1, b"", b"", 5), (1, b"", b"", [("h",)]), (1, b"", b"", [["h", b""]]),
    ):  # fmt: skip
        with pytest.raises((TypeError, IndexError, SystemError)):
            made.add(*wrong)
    with pytest.raises(ValueError, match="17 headers"):
        made.add(1, b"", b"", [("h", b"")] * 17)
    assert made.count == 0


@given(st.binary(max_size=200), st.integers(1, 1000))
@settings(max_examples=500, deadline=None)
def test_a_key_goes_where_xxh64_says(key: bytes, partitions: int) -> None:
    assert partition_of(key, partitions) == xxhash.xxh64_intdigest(key) % partitions


def test_a_partition_of_none_is_refused() -> None:
    for partitions in (0, -1):
        with pytest.raises(ValueError, match="at least one"):
            partition_of(b"k", partitions)
    assert batches.HEAD == 61
