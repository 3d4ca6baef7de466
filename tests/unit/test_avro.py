"""Records as ClickHouse gets them: an Avro file, and the statement that reads it."""

import re
from io import BytesIO
from typing import Any

import fastavro
import pytest
from clickhouse_connect.datatypes.registry import get_from_name

from schemas.registry import BET, EVENT, FORGOTTEN, HEADER, MAGIC
from sinks.avro import AHEAD, MARK, Passage, Unreadable, new_mark
from sinks.table import Column, Table
from tests.events import event

ANY = get_from_name("String")
TABLE = Table("t", (Column("a", ANY, "player_id", "is_crypto"), Column("b", ANY, f"f({AHEAD}, event_id)")))


def read(body: bytes) -> list[Any]:
    return list(fastavro.reader(BytesIO(body)))


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_a_body_is_a_file_of_the_records_and_what_is_around_them(count: int) -> None:
    passage, mark = Passage(EVENT, [TABLE], ahead=3), new_mark()
    events = [event(nth=nth, player_id=f"p{nth}") for nth in range(count)]
    found = read(passage.body([b"%03d" % nth + EVENT.encode(each) for nth, each in enumerate(events)], mark))
    assert [each["player_id"] for each in found] == [each["player_id"] for each in events]
    assert [each["payload"] for each in found] == [each["payload"] for each in events]
    assert [each[AHEAD] for each in found] == [b"%03d" % nth for nth in range(count)]
    assert {each["_mark"] for each in found} <= {mark}
    assert {each["_header"] for each in found} <= {EVENT.latest.header}
    assert EVENT.latest.header.startswith(MAGIC)
    assert len(EVENT.latest.header) == HEADER


def test_nested_records_are_read_as_well() -> None:
    fields: dict[str, Any] = {field["name"]: None for field in BET.latest.schema["fields"]}
    fields |= {"tenant": "a", "bet_id": "b", "status": "won", "pattern": "B", "anomalies": ["x", "y"], "epoch": 0}
    fields |= dict.fromkeys(("settlement_count", "first_received_at", "partition", "offset"), 1)
    fields |= dict.fromkeys(("ingest_log", "ingest_partition", "ingest_offset"), 1)
    passage = Passage(BET, [Table("t", (Column("a", ANY, "anomalies"),))])
    (found,) = read(passage.body([BET.encode(fields)], new_mark()))
    assert found["anomalies"] == ["x", "y"]
    assert AHEAD not in found


def test_marks_are_of_one_size_and_never_the_same() -> None:
    marks = {new_mark() for _ in range(100)}
    assert len(marks) == 100
    assert all(re.fullmatch(rb"[0-9a-f]{%d}" % MARK, mark) for mark in marks)


def test_a_statement_reads_what_its_columns_need_and_checks_every_record() -> None:
    mark = new_mark()
    statement = Passage(EVENT, [TABLE], ahead=3).statement(TABLE, mark).decode()
    assert statement == (
        "INSERT INTO t_rows (`a`, `b`) SELECT player_id, f(_ahead, event_id) FROM input('`_ahead` FixedString(3), "
        "`event_id` FixedString(16), `player_id` Nullable(String), `is_crypto` Nullable(Bool), _mark FixedString(16)') "
        f"WHERE NOT throwIf(_mark != '{mark.decode()}' OR is_crypto, 'to be decoded by the sink') FORMAT Avro\n"
    )


def test_where_a_record_becomes_many_rows_or_none_it_is_checked_before() -> None:
    table = Table("t", (Column("a", ANY, "each"),), "ARRAY JOIN anomalies AS each")
    statement = Passage(BET, [table]).statement(table, new_mark()).decode()
    assert re.search(r"FROM \(SELECT \* FROM input\(.*\) WHERE NOT throwIf\(.*\)\) ARRAY JOIN", statement)
    assert "anomalies` Array(String)" in statement


def test_a_field_that_clickhouse_cannot_read_is_named() -> None:
    with pytest.raises(Unreadable, match="digest"):
        Passage(FORGOTTEN, [Table("t", (Column("a", ANY, "digest"),))])
