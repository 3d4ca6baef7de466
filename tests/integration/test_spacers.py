"""Rows that cut parts in two: nobody sees them, and FINAL merges less."""

import random
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from runtime.settings import load
from sinks.audit import Auditor
from sinks.clickhouse import connect
from sinks.derived import compare
from sinks.migrate import Migrator
from sinks.migrate import load as migrations
from sinks.spacers import ROWS, SPACERS, put
from tests.events import T0
from tests.sinks import Warehouse, warehouse

PART = 100_000
"""Rows of a part, one a millisecond."""
OVERLAP = 2_000
"""Rows that a part has in common with the next: repeats of events; states of bets and sessions before the last."""
STEP = PART - OVERLAP
_NUMBERS = f"""
FROM (SELECT
    number + {{first:UInt64}} AS n, fromUnixTimestamp64Milli(toInt64({T0} + n)) AS at, toString(n % 1000) AS player
    FROM numbers({{count:UInt64}}))
"""
INSERTS = {
    "events": f"""
        INSERT INTO events_rows (ingest_log, ingest_partition, ingest_offset, event_id, event_name, received_at,
            event_time, player_id)
        SELECT 5, n % 8, intDiv(n, 8), reinterpretAsUUID(sipHash128(n)), ['bet', 'win', 'login'][n % 3 + 1], at, at,
            player
        {_NUMBERS}
    """,
    "bets": f"""
        INSERT INTO bets_rows (epoch, first_received_at, tenant, bet_id, status, player_id, version)
        SELECT {{epoch:UInt32}}, at, 'acme', toString(n), ['won', 'open', 'lost'][n % 3 + 1], player,
            {{version:UInt64}} {_NUMBERS}
    """,
    "sessions": f"""
        INSERT INTO sessions_rows (epoch, started_at, session_id, tenant, end_reason, player_id, version)
        SELECT {{epoch:UInt32}}, at, reinterpretAsUUID(sipHash128(n)), 'acme', ['ended', 'stopped', 'idle'][n % 3 + 1],
            player, {{version:UInt64}} {_NUMBERS}
    """,
}
NAMES = {
    "events": ("event_name", "bet", "win", "login"),
    "bets": ("status", "won", "open", "lost"),
    "sessions": ("end_reason", "ended", "stopped", "idle"),
}
BY_NAME = "SELECT {name}, count() AS c FROM {source} GROUP BY {name} ORDER BY {name}"


@pytest.fixture
def found(clickhouse: str) -> Iterator[Warehouse]:
    with warehouse(clickhouse, f"spacers_{random.randbytes(4).hex()}") as made:
        yield made


def insert(client: Client, view: str, nth: int, epoch: int = 0) -> None:
    """The rows of a part, in two inserts."""
    for half in (0, 1):
        rows = {"first": nth * STEP + half * PART // 2, "count": PART // 2, "version": nth, "epoch": epoch}
        client.command(INSERTS[view], parameters=rows)


def fill(found: Warehouse, view: str, parts: range, spaced: bool) -> int:
    """Parts as merges leave them, each of which overlaps those beside it; returns how many rows that is."""
    for nth in parts:
        insert(found.client, view, nth)
        if spaced:
            put(found.client, view, [T0 + nth * STEP + PART // 2])
        found.client.command(f"OPTIMIZE TABLE {view}_rows FINAL")
        found.client.command(f"CREATE TABLE aside_{nth} AS {view}_rows")
        found.client.command(f"ALTER TABLE aside_{nth} ATTACH PARTITION ALL FROM {view}_rows")
        found.client.command(f"TRUNCATE TABLE {view}_rows")
    found.client.command(f"SYSTEM STOP MERGES {view}_rows")
    for nth in parts:
        found.client.command(f"ALTER TABLE {view}_rows ATTACH PARTITION ALL FROM aside_{nth}")
        found.client.command(f"DROP TABLE aside_{nth}")
    return (len(parts) - 1) * STEP + PART


def merged(client: Client, view: str) -> float:
    """What is read to count rows by name, of what is read where whole parts are merged."""
    ours, all_of_it = (
        int(client.query(BY_NAME.format(name=NAMES[view][0], source=source)).summary["read_bytes"])
        for source in (view, f"{view}_rows FINAL")
    )
    return ours / all_of_it


@pytest.mark.parametrize("spaced", [True, False])
@pytest.mark.parametrize("view", SPACERS)
def test_rows_are_exact_and_what_does_not_overlap_is_not_merged(found: Warehouse, view: str, spaced: bool) -> None:
    count = fill(found, view, range(5), spaced)
    (levels,) = found.client.query(
        "SELECT groupArray(level) FROM system.parts"
        " WHERE database = currentDatabase() AND table = {table:String} AND active",
        parameters={"table": f"{view}_rows"},
    ).result_rows[0]
    assert len(levels) == 5
    assert min(levels) > 0
    assert found.value(f"SELECT count() FROM {view}") == count
    name, *values = NAMES[view]
    assert found.rows(BY_NAME.format(name=name, source=view)) == [
        {name: value, "c": len(range(nth, count, 3))} for value, nth in sorted(zip(values, range(3), strict=True))
    ]
    share = merged(found.client, view)
    assert (share < 0.6) == spaced, share  # were it so without, ClickHouse would be mended, and spacers needless


@pytest.mark.parametrize("view", SPACERS)
def test_no_view_shows_one(found: Warehouse, view: str) -> None:
    found.client.command(INSERTS[view], parameters={"first": 0, "count": 1000, "version": 1, "epoch": 0})
    names = [row["name"] for row in found.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View' AND name != 'freshness'"
    )]  # fmt: skip
    skipped = {"open_bets": "EXCEPT age_seconds"}
    asked = [f"SELECT * {skipped.get(name, '')} FROM {name}" for name in names]
    before = [sorted(map(repr, found.rows(sql))) for sql in asked]
    wrong = compare(found.client)
    for _ in range(2):  # as two sinks may
        put(found.client, view, [T0 + 500])
    assert found.value(f"SELECT count() FROM {view}_rows") >= 1000 + ROWS
    for _ in range(2):
        assert [sorted(map(repr, found.rows(sql))) for sql in asked] == before
        assert compare(found.client) == wrong
        assert not any(count for _, count, _ in Auditor(found.client, 5).altered())
        found.client.command(f"OPTIMIZE TABLE {view}_rows FINAL")


@pytest.mark.parametrize(("view", "altered"), [("events", "payload"), ("bets", "pattern"), ("sessions", "end_reason")])
def test_an_audit_has_nothing_to_do_with_them(found: Warehouse, view: str, altered: str) -> None:
    put(found.client, view, [T0 + 500])
    found.client.command(f"ALTER TABLE {view}_rows UPDATE {altered} = 'x' WHERE 1 SETTINGS mutations_sync = 1")
    assert not any(count for _, count, _ in Auditor(found.client, 5).altered())


def test_one_goes_with_the_epoch_of_its_rows(found: Warehouse) -> None:
    insert(found.client, "bets", 0, epoch=3)
    put(found.client, "bets", [T0 + 500], epoch=3)
    assert found.value("SELECT uniqExact(_partition_id) FROM bets_rows") == 1


@pytest.fixture
def former(clickhouse: str) -> Iterator[Client]:
    """A database of the release before spacers."""
    settings = load(clickhouse=clickhouse, clickhouse_database=f"spacers_{random.randbytes(4).hex()}")
    client = connect(settings, database=False)
    before = next(nth for nth, migration in enumerate(migrations()) if migration.name == "0022_spacers")
    Migrator(client, settings.clickhouse_database, migrations=migrations()[:before]).run()
    try:
        yield client
    finally:
        client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database} SYNC")
        client.close()


def upgrade(client: Client) -> None:
    assert client.database is not None
    Migrator(client, client.database).run()


@pytest.mark.parametrize("view", SPACERS)
def test_there_is_none_before_the_view_leaves_it_out(former: Client, view: str) -> None:
    put(former, view, [T0])
    assert former.command(f"SELECT count() FROM {view}_rows") == 0
    upgrade(former)
    put(former, view, [T0])
    assert former.command(f"SELECT count() FROM {view}_rows") == ROWS
    assert former.command(f"SELECT count() FROM {view}") == 0


@pytest.mark.parametrize("view", SPACERS)
def test_parts_of_before_the_upgrade_do_not_spoil_it(found: Warehouse, former: Client, view: str) -> None:
    """Where the key of one part is in memory without its further columns, none of them is compared."""
    insert(former, view, 0)
    former.command(f"OPTIMIZE TABLE {view}_rows FINAL")
    former.command(BY_NAME.format(name=NAMES[view][0], source=view))
    upgrade(former)
    fill(found, view, range(1, 6), spaced=True)
    former.command(f"SYSTEM STOP MERGES {view}_rows")
    former.command(
        f"ALTER TABLE {view}_rows ATTACH PARTITION ALL FROM {found.settings.clickhouse_database}.{view}_rows"
    )
    assert former.command(f"SELECT count() FROM {view}") == 5 * STEP + PART
    assert merged(former, view) < 0.6


@pytest.mark.parametrize("view", ["bets", "sessions"])
@pytest.mark.parametrize(
    "unlike",
    ["use_partition_pruning", "use_skip_indexes", "use_query_condition_cache", "optimize_move_to_prewhere_if_final"],
)
def test_one_epoch_is_shown_whatever_is_set(found: Warehouse, view: str, unlike: str) -> None:
    """The epoch is told by the partition alone."""
    for epoch in (0, 1):
        insert(found.client, view, 0, epoch)
    counted = f"SELECT count() FROM {view}"
    assert found.client.query(counted, settings={unlike: 0}).result_rows == [(PART,)]
    agent = {"bets": "pairing", "sessions": "sessions"}[view]
    found.client.command(
        f"INSERT INTO agent_epochs_rows (agent, epoch, partition, partitions) VALUES ('{agent}', 1, 0, 1)"
    )
    found.client.command(INSERTS[view], parameters={"first": PART, "count": 5, "version": 1, "epoch": 1})
    assert found.client.query(counted, settings={unlike: 0}).result_rows == [(PART + 5,)]
    found.client.command(f"TRUNCATE TABLE {view}_rows")
    assert found.client.query(counted, settings={unlike: 0}).result_rows == [(0,)]
