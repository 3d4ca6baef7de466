"""The compiled codec against fastavro, for every schema it supports."""

import contextlib
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import registry
from schemas.codec import DecodeError, UnsupportedSchema, decoder, encoder, varint
from schemas.registry import (
    API_KEY,
    BET,
    DEAD_LETTER,
    EVENT,
    HEADER,
    REGISTERED_EVENT,
    REJECTION,
    REPEAT,
    SESSION,
    UnknownSchema,
)
from tests.avro import read_varint, values

FLAT = [EVENT, REPEAT, REJECTION, REGISTERED_EVENT]
NESTED = [BET, SESSION, DEAD_LETTER, API_KEY]


def records(kind: registry.RecordType) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field["name"]: values(field["type"]) for field in kind.latest.schema["fields"]})


@pytest.mark.parametrize("kind", FLAT, ids=lambda kind: kind.name)
def test_writes_and_reads_what_fastavro_does(kind: registry.RecordType) -> None:
    names = [field["name"] for field in kind.latest.schema["fields"]]
    read_all, read_some = kind.reader(*names), kind.reader(*names[1::3])
    read_raw = kind.reader(*names, text=False)

    @given(records(kind))
    @settings(max_examples=150, deadline=None)
    def check(record: dict[str, Any]) -> None:
        out = BytesIO()
        fastavro.schemaless_writer(out, kind.latest.parsed, record)
        data = kind.encode(record)
        assert data == kind.latest.header + out.getvalue()
        assert kind.decode(data) == record
        assert read_all(data) == tuple(record[name] for name in names)
        assert read_some(data) == tuple(record[name] for name in names[1::3])
        raw = {name: value.encode() if isinstance(value, str) else value for name, value in record.items()}
        assert read_raw(data) == tuple(raw[name] for name in names)

    check()


@pytest.mark.parametrize("kind", NESTED, ids=lambda kind: kind.name)
def test_writes_and_reads_nested_values_as_fastavro_does(kind: registry.RecordType) -> None:
    names = [field["name"] for field in kind.latest.schema["fields"]]
    read_raw, read_some = kind.reader(*names, text=False), kind.reader(*names[1::3], text=False)

    @given(records(kind))
    @settings(max_examples=100, deadline=None)
    def check(record: dict[str, Any]) -> None:
        out = BytesIO()
        fastavro.schemaless_writer(out, kind.latest.parsed, record)
        data = kind.encode(record)
        assert data == kind.latest.header + out.getvalue()
        assert kind.decode(data) == record
        assert read_raw(data) == row(kind.latest.schema, record)
        assert read_some(data) == row(kind.latest.schema, record)[1::3]

    check()


def row(schema: Any, value: Any) -> Any:
    """A value as rows hold it: records as tuples, texts and the names of maps as bytes."""
    match schema:
        case ["null", inner]:
            return None if value is None else row(inner, value)
        case {"type": "record", "fields": fields}:
            return tuple(row(field["type"], value[field["name"]]) for field in fields)
        case {"type": "array", "items": inner}:
            return [row(inner, item) for item in value]
        case {"type": "map", "values": inner}:
            return {name.encode(): row(inner, item) for name, item in value.items()}
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize("kind", [*FLAT, BET, SESSION, DEAD_LETTER], ids=lambda kind: kind.name)
def test_a_row_is_written_as_its_mapping_is(kind: registry.RecordType) -> None:
    encode = kind.encode

    @given(records(kind))
    @settings(max_examples=100, deadline=None)
    def check(record: dict[str, Any]) -> None:
        assert encode(row(kind.latest.schema, record)) == kind.encode(record)

    check()


def test_items_that_may_be_null() -> None:
    inner = ["null", "string"]
    schema = {"type": "record", "name": "X", "fields": [{"name": "a", "type": {"type": "array", "items": inner}}]}
    expected = b"\x04\x00\x02\x04hi\x00"
    assert encoder(schema)({"a": [None, "hi"]}) == expected
    assert encoder(schema)(([None, b"hi"],)) == expected


@pytest.mark.parametrize("kind", [EVENT, BET, SESSION], ids=lambda kind: kind.name)
def test_damaged_bytes_are_a_decode_error_or_another_record(kind: registry.RecordType) -> None:
    names = [field["name"] for field in kind.latest.schema["fields"]]
    read, read_last = kind.reader(*names), kind.reader(names[-1])

    @given(records(kind), st.data())
    @settings(max_examples=200, deadline=None)
    def check(record: dict[str, Any], data: st.DataObject) -> None:
        raw = bytearray(kind.encode(record))
        at = data.draw(st.integers(HEADER, len(raw) - 1))
        raw[at] ^= data.draw(st.integers(1, 255))
        for damaged in (bytes(raw), bytes(raw[:at])):
            with contextlib.suppress(DecodeError):
                assert len(read(damaged)) == len(names)
            with contextlib.suppress(DecodeError):
                assert len(read_last(damaged)) == 1

    check()


def test_truncated_at_every_byte_is_a_decode_error() -> None:
    record: dict[str, Any] = {}
    for field in EVENT.latest.schema["fields"]:
        record[field["name"]] = {"string": "text", "bytes": b"bytes", "long": 77}.get(str(field["type"]))
    record |= {"event_id": b"e" * 16, "fingerprint": b"f" * 16}
    data = EVENT.encode(record)
    read = EVENT.reader("event_id", "payload")
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            read(data[:end])
        with pytest.raises(DecodeError):
            EVENT.decode(data[:end])


def test_an_unknown_fingerprint_is_named() -> None:
    with pytest.raises(UnknownSchema, match="0102030405060708"):
        EVENT.decode(b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08rest")


def test_a_newer_writers_record_is_read_once_its_schema_is_learnt() -> None:
    source = {**REGISTERED_EVENT.latest.source}
    source["fields"] = [*source["fields"], {"name": "colour", "type": "string", "default": "red"}]
    newer = registry.Version.of(source)
    record = {"event_id": "e", "tenant": "t", "campaign": None, "name": "n", "description": None, "created_at": 1}
    data = encoder(newer.schema, newer.header)({**record, "colour": "blue"})
    read = REGISTERED_EVENT.reader("name", "created_at")
    with pytest.raises(UnknownSchema):
        read(data)
    registry.learn(source)
    try:
        assert REGISTERED_EVENT.decode(data) == record
        assert read(data) == ("n", 1)
    finally:
        del REGISTERED_EVENT.versions[newer.header]


def test_a_field_that_an_old_writer_lacked_takes_its_default() -> None:
    schema = {"type": "record", "name": "Old", "fields": [{"name": "a", "type": "string"}]}
    assert decoder(schema, ["b", "a"], 0, {"b": 7})(b"\x04hi") == (7, "hi")


def test_unsupported_types_are_refused() -> None:
    field = {"name": "a", "type": ["string", "int"]}
    with pytest.raises(UnsupportedSchema):
        encoder({"type": "record", "name": "X", "fields": [field]})


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 62).flatmap(lambda bits: st.integers(-(2**bits), 2**bits)))
@settings(max_examples=500)
def test_varint_round_trip(value: int) -> None:
    assert read_varint(varint(value), 0) == (value, len(varint(value)))


LONGS = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "long"}]}


def test_numbers_of_every_length() -> None:
    write, read = encoder(LONGS), decoder(LONGS, ("a", "b"), 0, {})
    edges = [sign * (1 << bits) + near for bits in range(63) for near in (-1, 0) for sign in (1, -1)]
    for value in (*edges, -(1 << 63), (1 << 63) - 1):
        data = write((value, 5))
        assert data == varint(value) + varint(5)
        assert read(data) == (value, 5)


def test_numbers_beyond_64_bits_are_neither_written_nor_read() -> None:
    write, read = encoder(LONGS), decoder(LONGS, ("a", "b"), 0, {})
    for value in (1 << 63, -(1 << 63) - 1):
        with pytest.raises(OverflowError):
            write((value, 5))
        with pytest.raises(DecodeError):
            read(varint(value) + varint(5))


def test_a_row_of_another_length_or_type_is_refused() -> None:
    write = encoder(LONGS)
    for wrong in ((1,), (1, 2, 3)):
        with pytest.raises(ValueError, match="a row of"):
            write(wrong)
    for row in ((1, None), (1, "2"), (1, 2.5), [1, 2], None):
        with pytest.raises(TypeError):
            write(row)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="b"):
        write({"a": 1})
    with pytest.raises(TypeError):
        decoder(LONGS, ("a",), 0, {})(None)  # type: ignore[arg-type]


def nested(inner: Any) -> dict[str, Any]:
    return {"type": "record", "name": "X", "fields": [{"name": "a", "type": inner}]}


def test_a_block_may_tell_its_bytes() -> None:
    """Avro's other form of a block: a negative count, then how many bytes it has."""
    for schema, block, expected in (
        ({"type": "array", "items": "int"}, varint(-2) + varint(2) + b"\x02\x04" + b"\0", [1, 2]),
        ({"type": "map", "values": "int"}, varint(-1) + varint(3) + b"\x02k\x02" + b"\0", {"k": 1}),
    ):
        assert decoder(nested(schema), ("a",), 0, {})(block) == (expected,)
        behind = {**nested(schema), "fields": [*nested(schema)["fields"], {"name": "b", "type": "int"}]}
        assert decoder(behind, ("b",), 0, {})(block + b"\x06") == (3,)


def test_many_items_of_nothing_have_an_end() -> None:
    nothing = {"type": "array", "items": {"type": "fixed", "name": "none", "size": 0}}
    behind = {**nested(nothing), "fields": [*nested(nothing)["fields"], {"name": "b", "type": "int"}]}
    for wanted in ("a", "b"):
        with pytest.raises(DecodeError):
            decoder(behind, (wanted,), 0, {})(varint(1 << 60) + b"\0\x06")
