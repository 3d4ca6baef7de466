"""Rows of an agent's former epochs: which tables have them, and their removal once a newer epoch counts.

The views show the highest complete epoch; what is below it takes room and nothing else. Errors: ClickHouse's.
"""

from clickhouse_connect.driver.client import Client

_PARTS = """
SELECT DISTINCT table, partition_id FROM system.parts
WHERE active AND database = currentDatabase() AND table IN {tables:Array(String)}
    AND toUInt64OrZero(extract(partition, '(\\\\d+)')) < {epoch:UInt64}
"""
_WITH_EPOCH = """
SELECT table FROM system.columns
WHERE database = currentDatabase() AND name = 'epoch' AND is_in_partition_key AND table IN {tables:Array(String)}
"""
TABLES = {"sessions": ("sessions_rows", "assignments_rows"), "pairing": ("bets_rows",)}
"""Physical tables of an agent that writes others than its topics' own."""


def counts(client: Client, agent: str) -> int:
    """The agent's epoch that the views show."""
    return int(
        client.command("SELECT max(epoch) FROM agent_epochs WHERE agent = {agent:String}", parameters={"agent": agent})  # type: ignore[arg-type]
    )


def drop_before(client: Client, tables: list[str], epoch: int) -> int:
    """Removes the rows of lower epochs from those of ``tables`` that are partitioned by it; returns how many parts."""
    found = client.query(_WITH_EPOCH, parameters={"tables": tables}).result_columns
    partitioned = list(found[0]) if found else []
    rows = client.query(_PARTS, parameters={"tables": partitioned, "epoch": epoch}).result_rows
    for table, partition in rows:
        client.command(f"ALTER TABLE {table} DROP PARTITION ID {{id:String}}", parameters={"id": partition})
    return len(rows)
