"""The sink on a real Kafka and the real ClickHouse engine: what goes in comes out, quickly, once, whatever happens."""

import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from runtime.letters import replay_header
from runtime.origin import CAUSE, HEADER, place, source
from runtime.settings import load
from schemas.registry import BET, DEAD_LETTER, EVENT, LOSS
from schemas.topics import BETS, CONTROL_LOSSES, DEAD_LETTERS, EVENTS
from tests import servers
from tests.events import T0, event
from tests.kafka import produce_records, read_all
from tests.sinks import FailingClickHouse, SinkProcess, Warehouse, until
from tests.workers import Pipeline

_numbers = count()


@pytest.fixture(scope="module")
def kafka() -> Iterator[str]:
    with servers.embedded_kafka() as address:
        Pipeline(address, 2)
        yield address


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FailingClickHouse]:
    server = FailingClickHouse(tmp_path_factory.mktemp("clickhouse"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def warehouse(clickhouse: FailingClickHouse) -> Warehouse:
    return Warehouse(load(clickhouse=clickhouse.address))


@pytest.fixture
def sink(
    kafka: str, clickhouse: FailingClickHouse, warehouse: Warehouse, tmp_path: Path
) -> Iterator[Callable[..., SinkProcess]]:
    started: list[SinkProcess] = []

    def start(**settings: Any) -> SinkProcess:
        process = SinkProcess(kafka, clickhouse.address, tmp_path, len(started), **settings).start()
        started.append(process)
        return process

    yield start
    clickhouse.mend()
    for process in started:
        process.stop()


Record = tuple[str, int, bytes, bytes | None, list[tuple[str, bytes]]]


def an_event(**given: Any) -> Record:
    """A unique event as dedup sends it, with coordinates of its own."""
    nth = next(_numbers)
    fields = event(nth=nth, **{"received_at": int(time.time() * 1000), **given})
    header = (HEADER, source("dedup", 0, 77, 0) + place(nth, 0))
    return EVENTS.name, nth % 2, b"k", EVENT.encode(fields), [header]


SQL = """
SELECT ingest_offset FROM events
WHERE ingest_log = 77 AND ingest_offset >= {low:UInt64} AND ingest_offset <= {high:UInt64} ORDER BY ingest_offset
"""


def offset_of(record: Record) -> int:
    """The ingest offset by which an event is known again."""
    return int.from_bytes(record[4][0][1][-12:-4], "big")


def found(warehouse: Warehouse, records: list[Record]) -> list[int]:
    """The ingest offsets of the view's rows, between the least and the greatest of the records'."""
    wanted = sorted(map(offset_of, records))
    return [row["ingest_offset"] for row in warehouse.rows(SQL, low=wanted[0], high=wanted[-1])]


def stored(warehouse: Warehouse, records: list[Record]) -> Callable[[], bool]:
    """Whether exactly these events are there, by their ingest offsets."""
    wanted = sorted(map(offset_of, records))
    return lambda: found(warehouse, records) == wanted


def test_a_trickle_is_visible_at_once(kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse) -> None:
    process = sink()
    until(process.ready, logs=[process.log])
    waits = []
    for _ in range(8):
        record = an_event()
        started = time.monotonic()
        produce_records(kafka, [record])
        sent = time.monotonic()
        until(stored(warehouse, [record]), 10, [process.log])
        waits.append(time.monotonic() - (started + sent) / 2)
    assert median(waits) < 2, waits


def test_under_load_blocks_are_large_and_few(
    kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    process = sink()
    until(process.ready, logs=[process.log])
    before = warehouse.value("SELECT count() FROM events_rows")
    records = [an_event() for _ in range(30_000)]
    produce_records(kafka, records)
    until(stored(warehouse, records), 60, [process.log])
    inserts = process.metric("sluice_sink_insert_seconds_count")
    assert warehouse.value("SELECT count() FROM events_rows") - before == 30_000
    assert inserts <= 15, inserts


def test_every_outage_is_waited_for(
    kafka: str, clickhouse: FailingClickHouse, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    process = sink()
    until(process.ready, logs=[process.log])
    faults: list[dict[str, Any]] = [
        {"kind": "insert", "code": 252, "times": 2},
        {"kind": "insert", "code": 241, "times": 2},
        {"kind": "insert", "code": 164, "times": 2},
        {"kind": "insert", "code": 218, "times": 1},
        {"kind": "insert", "code": 77777, "times": 1},
        {"kind": "insert", "drop": True, "times": 2},
        {"kind": "insert", "drop": True, "when": "after", "times": 2},
    ]
    for fault in faults:
        clickhouse.fail(**fault)
        records = [an_event() for _ in range(500)]
        produce_records(kafka, records)
        until(stored(warehouse, records), 60, [process.log])
        until(process.ready, logs=[process.log])
    assert not read_all(kafka, DEAD_LETTERS.name)


def test_killed_in_mid_insert_nothing_is_lost_or_doubled(
    kafka: str, clickhouse: FailingClickHouse, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    records: list[Record] = []
    warehouse.client.command("SYSTEM STOP MERGES events_rows")  # so that what was inserted twice can be counted
    clickhouse.fail(kind="insert", delay=1.0, when="after")
    for _ in range(3):
        more = [an_event() for _ in range(2_000)]
        produce_records(kafka, more)
        records += more
        process = sink()
        until(lambda: found(warehouse, more), logs=[process.log])  # noqa: B023 - awaited in this round
        process.kill()  # it is there, and the sink was not told
    clickhouse.mend()
    process = sink()
    until(stored(warehouse, records), 90, [process.log])
    assert warehouse.value("SELECT count() FROM events_rows") > warehouse.value("SELECT count() FROM events")


def test_clickhouse_killed_under_traffic(
    kafka: str, clickhouse: FailingClickHouse, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    process = sink()
    until(process.ready, logs=[process.log])
    records: list[Record] = []
    for _ in range(3):
        more = [an_event() for _ in range(2_000)]
        produce_records(kafka, more)
        records += more
        clickhouse.kill()
        more = [an_event() for _ in range(2_000)]
        produce_records(kafka, more)
        records += more
        clickhouse.start()
    until(stored(warehouse, records), 60, [process.log])


def test_memory_is_bounded_while_clickhouse_is_away(
    kafka: str, clickhouse: FailingClickHouse, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    process = sink(sink_buffer=2 * 1024 * 1024)
    until(process.ready, logs=[process.log])
    before = process.memory()
    clickhouse.fail(kind="insert", code=242)
    records = [an_event(user_agent="x" * 4000) for _ in range(6_000)]
    produce_records(kafka, records)
    until(lambda: process.metric("sluice_sink_failures_total") >= 4, 60, [process.log])
    buffered = process.metric("sluice_sink_buffered_bytes")
    assert buffered < 16 * 1024 * 1024
    assert process.memory() - before < 200 * 1024 * 1024
    clickhouse.mend()
    until(stored(warehouse, records), 60, [process.log])


def test_a_bad_row_is_dead_lettered_alone(kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse) -> None:
    good = [an_event() for _ in range(400)]
    refused = an_event(properties="[1]")
    garbage: Record = (EVENTS.name, 1, b"k", b"no Avro", good[0][4])
    lost: Record = (EVENTS.name, 0, b"k", good[1][3], [])
    produce_records(kafka, [*good[:200], refused, garbage, lost, *good[200:]])
    process = sink()
    until(stored(warehouse, good), 60, [process.log])
    sql = "SELECT * FROM dead_letters WHERE stage = 'sink.events' ORDER BY offset"
    rows = until(lambda: len(rows := warehouse.rows(sql)) == 3 and rows, 60, [process.log])
    assert {row["error"].split(":")[0] for row in rows} == {"DatabaseError", "DecodeError", "OriginError"}
    letters = [DEAD_LETTER.decode(record.value) for record in read_all(kafka, DEAD_LETTERS.name)]
    assert {letter["payload"] for letter in letters} == {refused[3], b"no Avro", lost[3]}
    logged = {(record.topic, record.partition, record.offset): record.value for record in read_all(kafka, EVENTS.name)}
    for letter in letters:
        assert logged[letter["topic"], letter["partition"], letter["offset"]] == letter["payload"]
    by_error = {row["error"].split(":")[0]: row for row in rows}
    assert by_error["DatabaseError"]["tenant"] == "acme"
    assert by_error["DatabaseError"]["ingest_offset"] == offset_of(refused)
    # Replayed for another stage, it is passed over; for this one, mended, it is stored at its old place.
    letter = letters[0]["letter_id"]
    mended = EVENT.encode({**EVENT.decode(refused[3] or b""), "properties": "{}"})
    cause = (CAUSE, refused[4][0][1])
    other = an_event()
    produce_records(
        kafka,
        [
            (EVENTS.name, 0, b"k", other[3], [replay_header(letter, "sessions"), (CAUSE, other[4][0][1])]),
            (EVENTS.name, 0, b"k", mended, [replay_header(letter, "sink.events"), cause]),
        ],
    )
    until(stored(warehouse, [(EVENTS.name, 0, b"k", mended, [cause])]), 60, [process.log])
    assert not stored(warehouse, [other])()


def test_too_many_bad_rows_stop_it(kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse) -> None:
    rows = [an_event(properties="[]") for _ in range(30)]
    before = len(read_all(kafka, DEAD_LETTERS.name))
    process = sink(dead_letters_in_a_row=10)
    until(process.ready, logs=[process.log])
    produce_records(kafka, rows)
    assert process.wait() == 1
    assert "refused 11 rows in a row" in process.log.read_text()
    assert len(read_all(kafka, DEAD_LETTERS.name)) == before
    again = sink(dead_letters_in_a_row=100)
    until(lambda: len(read_all(kafka, DEAD_LETTERS.name)) == before + 30, 60, [again.log])


def test_a_missing_table_stops_it_with_a_sentence_and_loses_nothing(
    kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    process = sink()
    until(process.ready, logs=[process.log])
    warehouse.client.command("RENAME TABLE events_rows TO events_gone")
    records = [an_event() for _ in range(50)]
    produce_records(kafka, records)
    assert process.wait() == 1
    assert "run `sluice migrate`" in process.log.read_text()
    again = sink()
    assert again.wait() == 1
    assert "ClickHouse has no table events_rows: run `sluice migrate`" in again.log.read_text()
    warehouse.client.command("RENAME TABLE events_gone TO events_rows")
    last = sink()
    until(stored(warehouse, records), 60, [last.log])


def test_a_wrong_password_stops_it_with_a_sentence(sink: Callable[..., SinkProcess]) -> None:
    process = sink(clickhouse_password="wrong")
    assert process.wait() == 1
    assert "SLUICE_CLICKHOUSE_PASSWORD" in process.log.read_text()


def test_two_sinks_share_the_partitions_and_one_leaves(
    kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse
) -> None:
    records: list[Record] = []
    processes = [sink(), sink()]
    for process in processes:
        until(process.ready, logs=[process.log])
    for round_ in range(6):
        more = [an_event() for _ in range(1_000)]
        produce_records(kafka, more)
        records += more
        if round_ == 2:
            assert processes[0].stop() == 0
    until(stored(warehouse, records), 60, [process.log for process in processes])


def test_a_lost_log_stops_it_unless_the_loss_is_accepted(
    tmp_path: Path, clickhouse: FailingClickHouse, warehouse: Warehouse
) -> None:
    from tests.kafka import delete_records

    with servers.embedded_kafka() as address:
        Pipeline(address, 1)
        first = SinkProcess(address, clickhouse.address, tmp_path).start()
        records = [(name, 0, key, value, headers) for name, _, key, value, headers in (an_event() for _ in range(30))]
        produce_records(address, records[:10])
        until(stored(warehouse, records[:10]), 60, [first.log])
        assert first.stop() == 0
        produce_records(address, records[10:20])
        delete_records(address, EVENTS.name, 0, 15)
        produce_records(address, records[20:])
        second = SinkProcess(address, clickhouse.address, tmp_path, 1).start()
        assert second.wait() == 1
        assert "--accept-loss 10-15" in second.log.read_text()
        third = SinkProcess(address, clickhouse.address, tmp_path, 2, accept_loss="10-15").start()
        until(stored(warehouse, records[15:]), 60, [third.log])
        assert third.stop() == 0
        (lost,) = (LOSS.decode(record.value) for record in read_all(address, CONTROL_LOSSES.name))
        assert (lost["reader"], lost["topic"], lost["from"], lost["to"]) == ("sink", EVENTS.name, 10, 15)


def test_two_sinks_do_not_stand_in_one_slot(
    kafka: str, sink: Callable[..., SinkProcess], clickhouse: FailingClickHouse, tmp_path: Path
) -> None:
    """They would bear one name in the group, and throw each other out of it."""
    first = sink()
    until(first.ready, 60, [first.log])
    second = SinkProcess(kafka, clickhouse.address, tmp_path, 0).start()
    assert second.wait() == 1
    assert "Give each sink a slot of its own" in second.log.read_text()
    assert first.ready()


def test_bets_are_updated_in_place(kafka: str, sink: Callable[..., SinkProcess], warehouse: Warehouse) -> None:
    row: dict[str, Any] = {field["name"]: None for field in BET.latest.schema["fields"]}
    row |= {"tenant": "acme", "bet_id": "b1", "status": "open", "pattern": "B", "settlement_count": 0, "anomalies": []}
    row |= {"stake": b"\x01", "placed_at": T0, "first_received_at": T0, "epoch": 0, "partition": 0, "offset": 1}
    row |= {"ingest_log": 77, "ingest_partition": 0, "ingest_offset": 1}
    later = row | {"status": "won", "offset": 2, "net_result": b"\xff", "payout": b"\x00", "ggr": b"\x01"}
    process = sink()
    for state in (row, later, row):  # the last is a repeat of the first, come late
        produce_records(kafka, [(BETS.name, 0, b"k", BET.encode(state), [])])
    sql = "SELECT status, ggr FROM bets WHERE bet_id = 'b1'"
    until(lambda: [r["status"] for r in warehouse.rows(sql)] == ["won"], 60, [process.log])
    assert str(warehouse.rows(sql)[0]["ggr"]) == "1E-18"
