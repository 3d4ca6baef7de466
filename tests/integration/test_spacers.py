"""Rows that cut parts of events in two: nobody sees them, and FINAL merges less."""

import random
from collections.abc import Iterator

import pytest

from runtime.settings import load
from sinks.audit import Auditor
from sinks.clickhouse import connect
from sinks.derived import compare
from sinks.migrate import Migrator
from sinks.migrate import load as migrations
from sinks.spacers import LOG, ROWS, put
from tests.events import T0
from tests.sinks import Warehouse, warehouse

PART = 100_000
"""Events of a part, one a millisecond."""
OVERLAP = 2_000
"""Events that a part has in common with the next: repeats."""
BY_NAME = "SELECT event_name, count() AS c FROM {} GROUP BY event_name ORDER BY ALL"
_INSERT = f"""
INSERT INTO events_rows (ingest_log, ingest_partition, ingest_offset, event_id, event_name, received_at,
    event_time, player_id)
SELECT 5, n % 8, intDiv(n, 8), reinterpretAsUUID(sipHash128(n)), ['bet', 'win', 'login'][n % 3 + 1],
    fromUnixTimestamp64Milli(toInt64({T0} + n)) AS at, at, toString(n % 1000)
FROM (SELECT number + {{first:UInt64}} AS n FROM numbers({{count:UInt64}}))
"""


@pytest.fixture
def found(clickhouse: str) -> Iterator[Warehouse]:
    with warehouse(clickhouse, f"spacers_{random.randbytes(4).hex()}") as made:
        yield made


def fill(found: Warehouse, parts: int, spaced: bool) -> int:
    """Parts as merges leave them, each of which overlaps those beside it; returns how many events that is."""
    step = PART - OVERLAP
    for nth in range(parts):
        for half in (0, 1):
            place = {"first": nth * step + half * PART // 2, "count": PART // 2}
            found.client.command(_INSERT, parameters=place)
        if spaced:
            put(found.client, T0 + nth * step + PART // 2)
        found.client.command("OPTIMIZE TABLE events_rows FINAL")
        found.client.command(f"CREATE TABLE aside_{nth} AS events_rows")
        found.client.command(f"ALTER TABLE aside_{nth} ATTACH PARTITION ALL FROM events_rows")
        found.client.command("TRUNCATE TABLE events_rows")
    found.client.command("SYSTEM STOP MERGES events_rows")
    for nth in range(parts):
        found.client.command(f"ALTER TABLE events_rows ATTACH PARTITION ALL FROM aside_{nth}")
        found.client.command(f"DROP TABLE aside_{nth}")
    return (parts - 1) * step + PART


def read(found: Warehouse, table: str) -> int:
    """Bytes that are read to count events by name."""
    return int(found.client.query(BY_NAME.format(table)).summary["read_bytes"])


@pytest.mark.parametrize("spaced", [True, False])
def test_events_are_exact_and_what_does_not_overlap_is_not_merged(found: Warehouse, spaced: bool) -> None:
    count = fill(found, 5, spaced)
    (levels,) = found.client.query(
        "SELECT groupArray(level) FROM system.parts"
        " WHERE database = currentDatabase() AND table = 'events_rows' AND active"
    ).result_rows[0]
    assert len(levels) == 5
    assert min(levels) > 0
    assert found.value("SELECT count() FROM events") == count
    assert found.value("SELECT uniqExact(ingest_partition, ingest_offset) FROM events") == count
    assert found.rows(BY_NAME.format("events")) == [
        {"event_name": name, "c": len(range(nth, count, 3))} for nth, name in ((0, "bet"), (2, "login"), (1, "win"))
    ]
    merged = read(found, "events") / read(found, "events_rows FINAL")
    assert (merged < 0.6) == spaced, merged  # were it so without, ClickHouse would be mended, and spacers needless


def test_no_view_shows_one(found: Warehouse) -> None:
    found.client.command(_INSERT, parameters={"first": 0, "count": 1000})
    names = [row["name"] for row in found.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View' AND name != 'freshness'"
    )]  # fmt: skip
    before = {name: sorted(map(repr, found.rows(f"SELECT * FROM {name}"))) for name in names}
    wrong = compare(found.client)
    for _ in range(2):  # as two sinks may
        put(found.client, T0 + 500)
    assert found.value("SELECT count() FROM events_rows FINAL") == 1000 + ROWS
    for _ in range(2):
        assert {name: sorted(map(repr, found.rows(f"SELECT * FROM {name}"))) for name in names} == before
        assert compare(found.client) == wrong
        assert not any(count for _, count, _ in Auditor(found.client, 5).altered())
        found.client.command("OPTIMIZE TABLE events_rows FINAL")
    assert found.value("SELECT max(ingest_log) FROM events_rows WHERE tenant = '' AND player_id IS NULL") == LOG


def test_there_is_none_before_the_view_leaves_it_out(clickhouse: str) -> None:
    settings = load(clickhouse=clickhouse, clickhouse_database=f"spacers_{random.randbytes(4).hex()}")
    client = connect(settings, database=False)
    known = migrations()
    before = next(nth for nth, migration in enumerate(known) if migration.name == "0022_spacers")
    try:
        Migrator(client, settings.clickhouse_database, migrations=known[:before]).run()
        put(client, T0)
        assert client.command("SELECT count() FROM events_rows") == 0
        Migrator(client, settings.clickhouse_database).run()
        put(client, T0)
        assert client.command("SELECT count() FROM events_rows") == ROWS
        assert client.command("SELECT count() FROM events") == 0
    finally:
        client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database} SYNC")
        client.close()
