"""`python -m bench.warehouse [EVENTS]`: by default 20 million events, 5 million bets. Prints each query's cost.

Milliseconds of the clock, which other work on the machine lengthens, and of the server's processor time, which counts
background merges too.
"""

import argparse
import tempfile
import time
from pathlib import Path

import psutil
from clickhouse_connect.driver.client import Client

from bench.warehouse.data import BLOCK, fill
from embedded.clickhouse import ClickHouse
from runtime.settings import load
from sinks.audit import Auditor
from sinks.clickhouse import connect
from sinks.migrate import Migrator
from sinks.migrate import load as migrations

ROUNDS = 5
SETTLE = 60.0
"""Seconds for the merges behind the first fill."""
LIVE = 1_200_000
"""Events that are inserted last, ten minutes of them, at most a tenth of all. Bets and sessions of before stand in one
part then, as they do where events come at the rate of ``data.RATE``: what is older than five minutes is merged as a
whole (migration 0016). A fill is some twenty times as fast, so that five minutes by the clock would be most of it."""
EACH_ANEW = {"use_query_condition_cache": 0}
"""ClickHouse remembers which granules a condition has left; a query is asked many times here, by an analyst once."""
SHORTEST = 1.0
"""Seconds for which a query is repeated: the system counts processor time in hundredths."""
QUERIES = {
    "events counted": "SELECT event_name, count() FROM events GROUP BY event_name",
    "events by name": "SELECT event_name, count(), sum(toDecimal256(amount, 18)) FROM events GROUP BY event_name",
    "events of a day by hour": "SELECT toStartOfHour(event_time) AS h, tenant, count() FROM events"
    " WHERE event_time >= '2026-01-05 00:00:00' AND event_time < '2026-01-06 00:00:00' GROUP BY h, tenant",
    "players by day": "SELECT toDate(event_time) AS d, tenant, uniq(player_id) FROM events GROUP BY d, tenant",
    "one event": "SELECT * FROM events WHERE event_id = reinterpretAsUUID(sipHash128(toUInt64(123457)))",
    "first events": "SELECT * FROM events LIMIT 10",
    "last minutes": "SELECT event_id, session_id FROM events WHERE received_at >= '2026-01-05 00:10:00'"
    " AND received_at < '2026-01-05 00:11:00'",
    "events by session": "SELECT session_id, count() AS c FROM events GROUP BY session_id ORDER BY c DESC LIMIT 10",
    "bets by status": "SELECT status, count() FROM bets GROUP BY status",
    "open bets": "SELECT tenant, count(), sum(toDecimal256(stake, 18)) FROM open_bets GROUP BY tenant",
    "ggr by placed day": "SELECT * FROM ggr_daily WHERE basis = 'placed'",
    "ggr by settled day": "SELECT * FROM ggr_daily WHERE basis = 'settled'",
    "players' days": "SELECT tenant, count(), sum(ggr) FROM player_daily GROUP BY tenant",
    "sessions by day": "SELECT toDate(started_at) AS d, count(), avg(duration_seconds) FROM sessions GROUP BY d",
    "session results": "SELECT currency, count(), sum(ggr) FROM session_results GROUP BY currency",
    "funnel": "SELECT * FROM funnel_daily",
    "data quality": "SELECT * FROM data_quality",
}
PLAIN = {
    "events": "(received_at, ingest_log, ingest_partition, ingest_offset)",
    "bets": "(first_received_at, tenant, bet_id)",
    "sessions": "(started_at, session_id)",
    "duplicates": "(received_at, ingest_log, ingest_partition, ingest_offset)",
    "conflicts": "(received_at, ingest_log, ingest_partition, ingest_offset)",
    "rejections": "(received_at, rejection_id)",
    "dead_letters": "(timestamp, letter_id)",
}


def make_plain(client: Client) -> None:
    """A database in which what the views are made of are plain tables, with the same rows once."""
    client.command("CREATE DATABASE plain", use_database=False)
    for table, order in PLAIN.items():
        client.command(
            f"CREATE TABLE plain.{table} ENGINE = MergeTree ORDER BY {order} AS SELECT * FROM sluice.{table}"
        )
    client.command(
        "CREATE TABLE plain.assignments_rows ENGINE = MergeTree"
        " ORDER BY (epoch, received_at, ingest_log, ingest_partition, ingest_offset)"
        " AS SELECT * FROM sluice.assignments_rows FINAL"
    )
    client.database = "plain"
    for migration in migrations():
        for statement in migration.statements:
            text = statement.text.replace(" FINAL", "")
            words = [token.text for token in statement.tokens[:5]]
            name = words[words.index("VIEW") + 1] if "VIEW" in words else words[2]
            is_view = "VIEW" in words and name not in (*PLAIN, "freshness")
            if is_view or name == "agent_epochs_rows":
                client.command(text)
    client.database = "sluice"


def best(client: Client, server: psutil.Process, database: str, sql: str) -> tuple[float, float]:
    """Milliseconds of a round: the fastest by the clock, and the mean of the processor's."""
    client.database = database
    fastest, rounds, begun, spent = float("inf"), 0, time.perf_counter(), _spent(server)
    while rounds < ROUNDS or time.perf_counter() - begun < SHORTEST:
        started = time.perf_counter()
        client.command(sql + " FORMAT Null", settings=EACH_ANEW)
        fastest = min(fastest, time.perf_counter() - started)
        rounds += 1
    return fastest * 1000, (_spent(server) - spent) * 1000 / rounds


def _spent(server: psutil.Process) -> float:
    times = server.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=20_000_000)
    parser.add_argument("--settle", type=float, default=SETTLE, metavar="S", help="wait after the first fill, seconds")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        server = ClickHouse(Path(folder), settings=load(clickhouse_body=1024**3))
        server.start()
        try:
            assert server.process is not None
            client = connect(load(clickhouse=server.address), database=False)
            measure(client, psutil.Process(server.process.pid), given.events // BLOCK * BLOCK, given.settle)
        finally:
            server.stop()


def measure(client: Client, server: psutil.Process, events: int, settle: float) -> None:
    """Fills both databases and prints the comparison."""
    Migrator(client, "sluice").run()
    started = time.monotonic()
    live = min(LIVE, events // 10) // BLOCK * BLOCK
    fill(client, events - live)
    print(f"{events - live:,} events inserted in {time.monotonic() - started:.0f} s", flush=True)
    time.sleep(settle)
    for table in ("bets_rows", "sessions_rows"):
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    fill(client, events, events - live)
    for table in ("events_rows", "bets_rows", "sessions_rows", "assignments_rows"):
        rows, parts = client.query(
            "SELECT sum(rows), count() FROM system.parts WHERE database = 'sluice' AND table = {t:String} AND active",
            parameters={"t": table},
        ).result_rows[0]
        print(f"  {table}: {rows:,} rows in {parts} parts")
    make_plain(client)
    print(f"{'query':<26}{'plain ms':>10}{'ours ms':>10}{'ratio':>8}{'plain cpu':>12}{'ours cpu':>10}{'ratio':>8}")
    for name, sql in QUERIES.items():
        (plain, plain_cpu), (ours, ours_cpu) = (best(client, server, each, sql) for each in ("plain", "sluice"))
        cpu = f"{plain_cpu:>12.1f}{ours_cpu:>10.1f}{ours_cpu / max(plain_cpu, 0.1):>8.2f}"
        print(f"{name:<26}{plain:>10.1f}{ours:>10.1f}{ours / plain:>8.2f}{cpu}", flush=True)
    client.database = "sluice"
    started = time.monotonic()
    auditor = Auditor(client, 77)
    balance = auditor.balance(dict.fromkeys(range(8), events // 8))
    counted = time.monotonic() - started
    altered = sum(count for _, count, _ in auditor.altered())
    print(
        f"audit: balance of {balance.ingested:,} offsets in {counted:.1f} s ({balance.missing} missing),"
        f" checksums in {time.monotonic() - started - counted:.1f} s ({altered} altered)"
    )


if __name__ == "__main__":
    main()
