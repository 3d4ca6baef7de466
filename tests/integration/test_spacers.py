"""Rows that cut parts of events in two: nobody sees them, and FINAL merges less."""

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


STEP = PART - OVERLAP


def insert(client: Client, nth: int) -> None:
    """The events of a part, in two inserts."""
    for half in (0, 1):
        client.command(_INSERT, parameters={"first": nth * STEP + half * PART // 2, "count": PART // 2})


def fill(found: Warehouse, parts: range, spaced: bool) -> int:
    """Parts as merges leave them, each of which overlaps those beside it; returns how many events that is."""
    for nth in parts:
        insert(found.client, nth)
        if spaced:
            put(found.client, [T0 + nth * STEP + PART // 2])
        found.client.command("OPTIMIZE TABLE events_rows FINAL")
        found.client.command(f"CREATE TABLE aside_{nth} AS events_rows")
        found.client.command(f"ALTER TABLE aside_{nth} ATTACH PARTITION ALL FROM events_rows")
        found.client.command("TRUNCATE TABLE events_rows")
    found.client.command("SYSTEM STOP MERGES events_rows")
    for nth in parts:
        found.client.command(f"ALTER TABLE events_rows ATTACH PARTITION ALL FROM aside_{nth}")
        found.client.command(f"DROP TABLE aside_{nth}")
    return (len(parts) - 1) * STEP + PART


def merged(client: Client) -> float:
    """What is read to count events by name, of what is read where whole parts are merged."""
    ours, all_of_it = (
        int(client.query(BY_NAME.format(table)).summary["read_bytes"]) for table in ("events", "events_rows FINAL")
    )
    return ours / all_of_it


@pytest.mark.parametrize("spaced", [True, False])
def test_events_are_exact_and_what_does_not_overlap_is_not_merged(found: Warehouse, spaced: bool) -> None:
    count = fill(found, range(5), spaced)
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
    share = merged(found.client)
    assert (share < 0.6) == spaced, share  # were it so without, ClickHouse would be mended, and spacers needless


def test_no_view_shows_one(found: Warehouse) -> None:
    found.client.command(_INSERT, parameters={"first": 0, "count": 1000})
    names = [row["name"] for row in found.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View' AND name != 'freshness'"
    )]  # fmt: skip
    before = {name: sorted(map(repr, found.rows(f"SELECT * FROM {name}"))) for name in names}
    wrong = compare(found.client)
    for _ in range(2):  # as two sinks may
        put(found.client, [T0 + 500])
    assert found.value("SELECT count() FROM events_rows FINAL") == 1000 + ROWS
    for _ in range(2):
        assert {name: sorted(map(repr, found.rows(f"SELECT * FROM {name}"))) for name in names} == before
        assert compare(found.client) == wrong
        assert not any(count for _, count, _ in Auditor(found.client, 5).altered())
        found.client.command("OPTIMIZE TABLE events_rows FINAL")
    found.client.command(
        f"ALTER TABLE events_rows UPDATE payload = 'x' WHERE ingest_log = {LOG} SETTINGS mutations_sync = 1"
    )
    assert not any(count for _, count, _ in Auditor(found.client, 5).altered())


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


def test_there_is_none_before_the_view_leaves_it_out(former: Client) -> None:
    put(former, [T0])
    assert former.command("SELECT count() FROM events_rows") == 0
    upgrade(former)
    put(former, [T0])
    assert former.command("SELECT count() FROM events_rows") == ROWS
    assert former.command("SELECT count() FROM events") == 0


def test_parts_of_before_the_upgrade_do_not_spoil_it(found: Warehouse, former: Client) -> None:
    """Where the key of one part is in memory without its further columns, none of them is compared."""
    insert(former, 0)
    former.command("OPTIMIZE TABLE events_rows FINAL")
    former.command(BY_NAME.format("events"))
    upgrade(former)
    fill(found, range(1, 6), spaced=True)
    former.command("SYSTEM STOP MERGES events_rows")
    former.command(
        f"ALTER TABLE events_rows ATTACH PARTITION ALL FROM {found.settings.clickhouse_database}.events_rows"
    )
    assert former.command("SELECT count() FROM events") == 5 * STEP + PART
    assert merged(former) < 0.6
