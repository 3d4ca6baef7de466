"""clickhouse-connect, sync and async, against the shared ClickHouse: the sink's and the analysts' client."""

import asyncio
import datetime
import time
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pytest
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

TABLE = """
CREATE TABLE kinds (
    id UUID, n UInt64, name LowCardinality(String), amount Nullable(Decimal(38, 18)), at DateTime64(3, 'UTC'),
    tags Array(String), totals Map(String, Decimal(76, 18)), properties JSON, flag Nullable(Bool), raw String
) ENGINE = ReplacingMergeTree(n) ORDER BY id
"""
UTC = datetime.UTC


def _address(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {"host": parts.hostname, "port": parts.port}


@pytest.fixture
def client(clickhouse: str, namespace: str) -> Iterator[Client]:
    with clickhouse_connect.get_client(**_address(clickhouse)) as first:
        first.command(f"CREATE DATABASE {namespace}")
    with clickhouse_connect.get_client(**_address(clickhouse), database=namespace) as client:
        yield client


ROW = (
    uuid.UUID(int=7),
    2**63,
    "bet",
    Decimal("-0.000000000000000001"),
    datetime.datetime(2024, 2, 29, 23, 59, 59, 999000, UTC),
    ["a", "b"],
    {"EUR": Decimal("12345678901234567890.5")},
    {"a": {"b": 1}},
    None,
    "x\0y",
)


def test_a_parameter_of_any_length_arrives(client: Client) -> None:
    ids = [str(uuid.UUID(int=nth)) for nth in range(2500)]
    found = client.query("SELECT length({ids:Array(UUID)}), {ids:Array(UUID)}[-1]", parameters={"ids": ids})
    assert found.result_rows == [(2500, uuid.UUID(int=2499))]


def test_every_type_that_the_warehouse_uses_goes_there_and_back(client: Client) -> None:
    client.command(TABLE)
    client.insert("kinds", [ROW])
    (row,) = client.query("SELECT * FROM kinds", query_tz="UTC", tz_mode="aware").result_rows
    assert row == ROW


def test_inserts_a_hundred_thousand_rows_a_second_at_least(client: Client) -> None:
    client.command("CREATE TABLE t (a UInt64, b String, c LowCardinality(String)) ENGINE = MergeTree ORDER BY a")
    count, best = 100_000, 1e9
    columns: list[list[Any]] = [list(range(count)), [f"p{n}" for n in range(count)], ["bet", "win"] * (count // 2)]
    for _ in range(5):
        context = client.create_insert_context("t", data=columns, column_oriented=True)
        began = time.perf_counter()
        summary = client.insert(context=context)
        best = min(best, time.perf_counter() - began)
        assert summary.written_rows == count
    assert best < 1.0
    assert client.command("SELECT count() FROM t") == 5 * count


def test_streams_what_would_not_fit(client: Client) -> None:
    total = 0
    with client.query_row_block_stream("SELECT number, toString(number) FROM numbers(1000000)") as blocks:
        for block in blocks:
            total += len(block)
    assert total == 1_000_000


def test_an_error_late_in_a_stream_is_raised(client: Client) -> None:
    late = "SELECT number, throwIf(number = 700000) FROM numbers(1000000) SETTINGS max_threads = 1"
    with pytest.raises(DatabaseError, match="395"):
        client.query(late)


def test_parameters_settings_and_formats(client: Client) -> None:
    assert client.query("SELECT {a:String}", parameters={"a": "it's"}).first_row == ("it's",)
    assert client.command("SELECT getSetting('max_threads')", settings={"max_threads": 1}) == 1
    assert client.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.raw_insert("t", insert_block=b"1\n2\n", fmt="CSV", column_names=["a"])
    assert client.query_df("SELECT sum(a) AS s FROM t")["s"][0] == 3


def test_errors_carry_their_code(client: Client) -> None:
    with pytest.raises(DatabaseError, match="code: 60"):
        client.query("SELECT * FROM nothing")
    with pytest.raises(DatabaseError, match="code: 60"):
        client.insert("nothing", [[1]], column_names=["a"], column_type_names=["UInt8"])


def test_the_analyst(clickhouse: str, client: Client, namespace: str, uses_containers: bool) -> None:
    if uses_containers:
        client.command("CREATE USER IF NOT EXISTS analyst IDENTIFIED WITH no_password SETTINGS readonly = 1")
        client.command("GRANT SELECT ON *.* TO analyst")
    with clickhouse_connect.get_client(**_address(clickhouse), username="analyst", database=namespace) as analyst:
        assert analyst.query("SELECT count() FROM system.tables").row_count == 1
        with pytest.raises(DatabaseError, match=r"READONLY|ACCESS_DENIED"):
            analyst.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")


def test_async_inserts_and_queries_at_once(clickhouse: str, client: Client, namespace: str) -> None:
    client.command("CREATE TABLE t (writer UInt8, a UInt64) ENGINE = MergeTree ORDER BY (writer, a)")

    async def write(remote: AsyncClient, writer: int) -> int:
        await remote.insert("t", [[writer, n] for n in range(10_000)], column_names=["writer", "a"])
        found = await remote.query("SELECT count() FROM t WHERE writer = {w:UInt8}", parameters={"w": writer})
        return int(found.result_rows[0][0])

    async def work() -> list[int]:
        remote = await clickhouse_connect.get_async_client(**_address(clickhouse), database=namespace)
        try:
            return list(await asyncio.gather(*(write(remote, writer) for writer in range(8))))
        finally:
            await remote.close()

    assert asyncio.run(work()) == [10_000] * 8
