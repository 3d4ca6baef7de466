"""Records that go to ClickHouse as they are give the rows that they give when they are decoded here, and no others."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runtime.agent import Record
from runtime.forgotten import Forgotten
from runtime.origin import CAUSE, HEADER, place, source
from schemas.codec import DecodeError, varint
from schemas.registry import EVENT, RecordType
from schemas.registry import HEADER as SCHEMA
from schemas.topics import EVENTS, SESSIONS, TOPICS, Topic
from sinks.avro import new_mark
from sinks.batch import WARY
from sinks.feeds import feeds
from sinks.writer import columns_of
from tests.avro import TEXT, read_varint, values
from tests.events import T0, event
from tests.sinks import Warehouse, warehouse

EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.dictionaries(TEXT.filter(lambda key: "." not in key), st.none() | st.integers() | TEXT, max_size=4)
NAMED: dict[str, st.SearchStrategy[Any]] = {
    "properties": JSON.map(json.dumps),
    "epoch": st.sampled_from([0, 1, 65535]),
    **dict.fromkeys(("offset", "partition"), st.integers(0, 2**31 - 1)),
}


@pytest.fixture(scope="module")
def both(clickhouse: str) -> Iterator[tuple[Warehouse, Warehouse]]:
    """One for records as they are, one for the same records decoded."""
    with warehouse(clickhouse, "passage_asis") as one, warehouse(clickhouse, "passage_decoded") as other:
        yield one, other


def storable(schema: Any) -> st.SearchStrategy[Any] | None:
    """What the tables can hold, where that is less than the schema."""
    match schema:
        case {"name": name} if name in NAMED:
            return NAMED[name]
        case {"logicalType": "decimal", "precision": precision}:
            return st.integers(-(10**precision) + 1, 10**precision - 1).map(shortest)
        case {"logicalType": "timestamp-millis"}:
            return st.integers(T0 - 10**8, T0 + 10**8)
    return None


def shortest(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def record(topic: Topic, nth: int, value: bytes | None) -> Record:
    origin = (HEADER, source("dedup", 3, -7 - nth, nth) + place(nth, 0))
    other = (HEADER, source("pairing", 3, 9, 9) + place(9, 9))
    headers = (origin,) if nth % 2 else (other, (CAUSE, origin[1]))
    return Record(topic.name, 0, nth, T0, None, value, headers)


def pass_on(to: Warehouse, records: Sequence[Record]) -> None:
    """Inserts records as they are. Raises what ClickHouse says."""
    feed = to.feeds[records[0].topic]
    values = feed.passed(records)
    assert values is not None
    assert feed.passage is not None
    mark = new_mark()
    for table in feed.tables:
        to.writer.pass_on(table, feed.passage.statement(table, mark), feed.passage.body(values, mark))


def rows(of: Warehouse, topic: Topic) -> list[list[bytes]]:
    """All that is stored, by table, sorted; but for when it was."""
    found = []
    for table in of.feeds[topic.name].tables:
        sent = {column.name for column in table.columns}
        stored = columns_of(of.client, of.settings.clickhouse_database)[table.name]
        names = [name for name in stored if name in sent or name not in ("stored_at", "version")]
        sql = f"SELECT {', '.join(names)} FROM {table.name} FORMAT TSV"
        found.append(sorted(of.client.raw_query(sql).split(b"\n")))
    return found


def emptied(both: tuple[Warehouse, Warehouse], topic: Topic) -> None:
    for each in both:
        each.feeds[topic.name].wary = 0
        for table in each.feeds[topic.name].tables:
            each.client.command(f"TRUNCATE TABLE {table.name}")


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.table], ids=lambda topic: topic.name)
def test_the_rows_are_the_same(both: tuple[Warehouse, Warehouse], topic: Topic) -> None:
    kind = topic.value
    assert kind is not None

    @given(st.lists(values(kind.latest.source, storable), min_size=1, max_size=20))
    @EXAMPLES
    def check(given: list[dict[str, Any]]) -> None:
        emptied(both, topic)
        records = [record(topic, nth, kind.encode(each)) for nth, each in enumerate(given)]
        pass_on(both[0], records)
        assert both[1].store(records, decoded=True) == []
        assert rows(both[0], topic) == rows(both[1], topic)
        assert len(rows(both[0], topic)[0]) > 1

    check()


def damaged(value: bytes, data: st.DataObject) -> bytes | None:
    at = data.draw(st.integers(0, len(value) - 1))
    match data.draw(st.sampled_from(["cut", "longer", "flip", "more", "insert", "none", "empty"])):
        case "cut":
            return value[:at]
        case "longer":
            return value + data.draw(st.binary(min_size=1, max_size=40))
        case "flip":
            return value[:at] + bytes((value[at] ^ data.draw(st.integers(1, 255)),)) + value[at + 1 :]
        case "more":
            return value[:at] + bytes(((value[at] + 2) % 256,)) + value[at + 1 :]
        case "insert":
            return value[:at] + data.draw(st.binary(min_size=1, max_size=3)) + value[at:]
        case "none":
            return None
    return b""


class Lenient(Exception):  # noqa: N818
    """ClickHouse reads a value less strictly: a branch that its union has not, a text that is not UTF-8, a number of
    more than 64 bits."""


def number(data: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends. Raises Lenient; IndexError, DecodeError."""
    found, end = read_varint(data, at)
    if end - at == 10 and data[end - 1] > 1:
        raise Lenient
    return found, end


def behind(schema: Any, data: bytes, at: int) -> int:
    """Where a value that begins at ``at`` ends. Raises Lenient; IndexError, DecodeError."""
    match schema:
        case ["null", inner]:
            branch, at = number(data, at)
            if branch not in (0, 1):
                raise Lenient
            return behind(inner, data, at) if branch else at
        case {"type": "fixed", "size": size}:
            return at + int(size)
        case {"type": "array", "items": inner}:
            return behind_blocks([inner], data, at)
        case {"type": "map", "values": inner}:
            return behind_blocks(["string", inner], data, at)
        case {"type": "record", "fields": fields}:
            for field in fields:
                at = behind(field["type"], data, at)
            return at
        case {"type": inner}:
            return behind(inner, data, at)
        case "string" | "bytes":
            size, at = number(data, at)
            end = at + max(size, 0)
            try:
                data[at : end if schema == "string" else at].decode()
            except UnicodeDecodeError:
                raise Lenient from None
            return end
    return at + 1 if schema == "boolean" else number(data, at)[1]


def behind_blocks(items: list[Any], data: bytes, at: int) -> int:
    while True:
        count, at = number(data, at)
        if count < 0:
            _, at = number(data, at)
        for _ in range(abs(count)):
            for each in items:
                at = behind(each, data, at)
        if not count:
            return at


def is_strict(kind: RecordType, value: bytes | None) -> bool:
    try:
        behind(kind.latest.source, value or b"", SCHEMA)
    except Lenient:
        return False
    except (IndexError, DecodeError):
        pass
    return True


def test_an_event_with_a_branch_that_is_none_is_refused(both: tuple[Warehouse, Warehouse]) -> None:
    """ClickHouse would take it for null: an amount, say, that is there."""
    emptied(both, EVENTS)
    good = login(1)
    at = good.index(b"\x04p1") + 3
    encoded = [login(0), good[:at] + b"\x05" + good[at + 1 :], login(2)]
    assert not is_strict(EVENT, encoded[1])
    records = [record(EVENTS, nth, value) for nth, value in enumerate(encoded)]
    for each, decoded in zip(both, (False, True), strict=True):
        (bad,) = each.store(records, decoded=decoded)
        assert (bad.cause.offset, type(bad.error)) == (1, DecodeError)
    assert rows(both[0], EVENTS) == rows(both[1], EVENTS)


@pytest.mark.parametrize("topic", [topic for topic in TOPICS if topic.table], ids=lambda topic: topic.name)
def test_damaged_records_change_no_other(both: tuple[Warehouse, Warehouse], topic: Topic) -> None:
    """The same letters, for the same reasons, and the same rows as where every record is decoded by itself."""
    kind = topic.value
    assert kind is not None

    @given(st.lists(values(kind.latest.source, storable), min_size=2, max_size=8), st.data())
    @EXAMPLES
    def check(given: list[dict[str, Any]], data: st.DataObject) -> None:
        emptied(both, topic)
        encoded: list[bytes | None] = [kind.encode(each) for each in given]
        for at in data.draw(st.sets(st.integers(0, len(encoded) - 1), min_size=1, max_size=2)):
            encoded[at] = damaged(encoded[at] or b"", data)
            assume(topic is EVENTS or is_strict(kind, encoded[at]))
        records = [record(topic, nth, value) for nth, value in enumerate(encoded)]
        mine, others = both[0].store(records), both[1].store(records, decoded=True)
        assert [(bad.cause, type(bad.error), bad.table.view) for bad in mine] == [
            (bad.cause, type(bad.error), bad.table.view) for bad in others
        ]
        assert rows(both[0], topic) == rows(both[1], topic)

    check()


def login(nth: int, **given: Any) -> bytes:
    return EVENT.encode(event(nth=nth, player_id=f"p{nth}", **given))


def test_a_record_that_swallows_the_next_is_refused(both: tuple[Warehouse, Warehouse]) -> None:
    """Its last text ends where the next record does, with mark and all: one record is missing at the end."""
    encoded = [login(nth) for nth in range(70_000)]
    at = 3
    feed = both[0].feeds[EVENTS.name]
    good = [record(EVENTS, nth, value) for nth, value in enumerate(encoded)]
    payload = event(nth=at, player_id=f"p{at}")["payload"]
    (following,) = feed.passed(good[at + 1 : at + 2]) or []
    length = varint(len(payload) + 16 + len(following))
    head = encoded[at].removesuffix(varint(len(payload)) + payload)
    assert head != encoded[at]
    records = [*good[:at], record(EVENTS, at, head + length + payload), *good[at + 1 :]]
    emptied(both, EVENTS)
    with pytest.raises(DatabaseError, match="EOF reached"):
        pass_on(both[0], records)
    assert rows(both[0], EVENTS) == [[b""]], "nothing is written before all is read"
    (bad,) = both[0].store(records)
    assert (bad.cause.offset, type(bad.error)) == (at, DecodeError)
    assert both[0].value("SELECT uniqExact(ingest_offset) FROM events_rows") == len(records) - 1


def test_a_record_behind_which_another_stands_is_refused(both: tuple[Warehouse, Warehouse]) -> None:
    """Without marks it would be taken for two, and the last of the batch for none."""
    feed = both[0].feeds[EVENTS.name]
    other = record(EVENTS, 9, login(9))
    (ahead,) = feed.passed([other]) or []
    encoded = [login(0), login(1) + bytes(16) + ahead, login(2)]
    records = [record(EVENTS, nth, value) for nth, value in enumerate(encoded)]
    emptied(both, EVENTS)
    with pytest.raises(DatabaseError, match="to be decoded by the sink"):
        pass_on(both[0], records)
    assert [bad.cause.offset for bad in both[0].store(records)] == [1]
    both[1].store(records, decoded=True)
    assert rows(both[0], EVENTS) == rows(both[1], EVENTS)


def test_a_record_too_many_or_too_few_is_refused(both: tuple[Warehouse, Warehouse]) -> None:
    feed = both[0].feeds[EVENTS.name]
    assert feed.passage is not None
    values = feed.passed([record(EVENTS, nth, login(nth)) for nth in range(5)]) or []
    mark = new_mark()
    statement, body = feed.passage.statement(feed.tables[0], mark), feed.passage.body(values, mark)
    for bad in (body.replace(mark + values[2], mark), body.replace(values[2], values[2] + b"\0"), body[:-100]):
        assert bad != body
        emptied(both, EVENTS)
        with pytest.raises(DatabaseError):
            both[0].writer.pass_on(feed.tables[0], statement, bad)
        assert rows(both[0], EVENTS) == [[b""]]


@pytest.mark.parametrize("properties", ['{"a":1,"a.b":2}', '{"a":1e400}', '{"a": [' + "7" * 400 + "]}"])
def test_json_that_must_be_mended_is(both: tuple[Warehouse, Warehouse], properties: str) -> None:
    emptied(both, EVENTS)
    records = [record(EVENTS, nth, login(nth, properties=properties if nth == 1 else "{}")) for nth in range(3)]
    with pytest.raises(DatabaseError, match="to be decoded by the sink"):
        pass_on(both[0], records)
    assert both[0].store(records) == both[1].store(records, decoded=True) == []
    assert rows(both[0], EVENTS) == rows(both[1], EVENTS)
    assert both[0].feeds[EVENTS.name].wary == WARY
    for _ in range(WARY):
        assert both[0].store(records) == []  # would be refused again
    assert both[0].feeds[EVENTS.name].wary == 0


def test_only_batches_that_concern_the_forgotten_are_decoded(both: tuple[Warehouse, Warehouse]) -> None:
    known = Forgotten("nowhere:9092")
    schema = columns_of(both[0].client, both[0].settings.clickhouse_database)
    found = {feed.topic.name: feed for feed in feeds(schema, both[0].settings, known)}
    events = [record(EVENTS, nth, login(nth)) for nth in range(3)]
    assert found[EVENTS.name].passed(events) is not None
    known.add(known.name(b"acme", b"p1"))
    assert found[EVENTS.name].passed(events) is None
    assert found[EVENTS.name].passed([events[0], events[2]]) is not None
    assert found[SESSIONS.name].passed([]) is None
