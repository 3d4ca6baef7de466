"""The compiled codec against fastavro, for every schema it supports."""

import contextlib
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec, registry
from schemas.codec import (
    DecodeError,
    UnsupportedSchema,
    compile_decoder,
    compile_encoder,
    compile_row_encoder,
    read_varint,
    varint,
)
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
from tests.avro import values

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
def test_writes_nested_values_as_fastavro_does(kind: registry.RecordType) -> None:
    @given(records(kind))
    @settings(max_examples=100, deadline=None)
    def check(record: dict[str, Any]) -> None:
        out = BytesIO()
        fastavro.schemaless_writer(out, kind.latest.parsed, record)
        assert kind.encode(record) == kind.latest.header + out.getvalue()
        assert kind.decode(kind.encode(record)) == record

    check()


def row(schema: Any, value: Any) -> Any:
    """A value as rows hold it: records as tuples, texts and the names of maps as bytes."""
    match schema:
        case {"type": "record", "fields": fields}:
            return tuple(row(field["type"], value[field["name"]]) for field in fields)
        case {"type": "array", "items": inner}:
            return [row(inner, item) for item in value]
        case {"type": "map", "values": inner}:
            return {name.encode(): row(inner, item) for name, item in value.items()}
    return value.encode() if isinstance(value, str) else value


@pytest.mark.parametrize("kind", [*FLAT, BET, SESSION, DEAD_LETTER], ids=lambda kind: kind.name)
def test_a_row_is_written_as_its_mapping_is(kind: registry.RecordType) -> None:
    encode = kind.row_encoder()

    @given(records(kind))
    @settings(max_examples=100, deadline=None)
    def check(record: dict[str, Any]) -> None:
        assert encode(row(kind.latest.schema, record)) == kind.encode(record)

    check()


def test_items_that_may_be_null() -> None:
    inner = ["null", "string"]
    schema = {"type": "record", "name": "X", "fields": [{"name": "a", "type": {"type": "array", "items": inner}}]}
    expected = b"\x04\x00\x02\x04hi\x00"
    assert compile_encoder(schema)({"a": [None, "hi"]}) == expected
    assert compile_row_encoder(schema)(([None, b"hi"],)) == expected


@given(records(EVENT), st.data())
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_are_a_decode_error_or_another_record(record: dict[str, Any], data: st.DataObject) -> None:
    raw = bytearray(EVENT.encode(record))
    at = data.draw(st.integers(HEADER, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    names = [field["name"] for field in EVENT.latest.schema["fields"]]
    for damaged in (bytes(raw), bytes(raw[:at])):
        with contextlib.suppress(DecodeError):
            assert len(EVENT.reader(*names)(damaged)) == len(names)


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


@given(st.lists(records(EVENT), max_size=4), records(EVENT))
@settings(max_examples=100, deadline=None)
def test_a_batch_is_the_bytes_of_each(batch: list[dict[str, Any]], first: dict[str, Any]) -> None:
    shared = ("tenant", "received_at", "campaign", "payload")
    names = [field["name"] for field in EVENT.latest.schema["fields"]]
    batch = [{name: (first if name in shared else record)[name] for name in names} for record in batch]
    assert EVENT.batch_encoder(*shared)(batch) == [EVENT.encode(record) for record in batch]


def test_an_unknown_fingerprint_is_named() -> None:
    with pytest.raises(UnknownSchema, match="0102030405060708"):
        EVENT.decode(b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08rest")


def test_a_newer_writers_record_is_read_once_its_schema_is_learnt() -> None:
    source = {**REGISTERED_EVENT.latest.source}
    source["fields"] = [*source["fields"], {"name": "colour", "type": "string", "default": "red"}]
    newer = registry.Version.of(source)
    record = {"event_id": "e", "tenant": "t", "campaign": None, "name": "n", "description": None, "created_at": 1}
    data = compile_encoder(newer.schema, newer.header)({**record, "colour": "blue"})
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
    assert compile_decoder(schema, ["b", "a"], 0, {"b": 7})(b"\x04hi") == (7, "hi")


def test_unsupported_types_are_refused() -> None:
    field = {"name": "a", "type": ["string", "int"]}
    with pytest.raises(UnsupportedSchema):
        compile_encoder({"type": "record", "name": "X", "fields": [field]})


@given(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 62).flatmap(lambda bits: st.integers(-(2**bits), 2**bits)))
@settings(max_examples=500)
def test_varint_round_trip(value: int) -> None:
    assert read_varint(varint(value), 0) == (value, len(varint(value)))


def test_numbers_of_six_bytes_are_what_they_are_however_often_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_HIGHS", 4)
    long = {"type": "record", "name": "X", "fields": [{"name": "a", "type": "long"}, {"name": "b", "type": "long"}]}
    encode, read = compile_encoder(long), compile_decoder(long, ("a", "b"), 0, {})
    edges = [
        sign * (1 << bits) + near for bits in range(26, 50) for near in (-8192, -1, 0, 1, 8191) for sign in (1, -1)
    ]
    for value in edges * 3:
        for pair in ((value, 5), (5, value), (value, value + 8190)):
            assert read(encode(dict(zip("ab", pair, strict=True)))) == pair
    with pytest.raises(DecodeError):
        read(varint(1 << 40) + varint(1 << 40)[:-1])
