"""Migrations on the real engine: once, twice, by two processes at once, from every earlier version, refused."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from runtime.settings import Settings, load
from sinks.clickhouse import Refused, Unreachable, connect
from sinks.migrate import FOLDER, Migration, MigrationError, Migrator
from sinks.migrate import load as load_migrations
from sinks.migrationlock import LockLost, LockTimeout, MigrationLock

Make = Callable[..., Migrator]


@pytest.fixture
def settings(clickhouse: str, namespace: str) -> Settings:
    return load(clickhouse=clickhouse, clickhouse_database=namespace)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    client = connect(settings, database=False)
    yield client
    client.command(f"DROP DATABASE IF EXISTS {settings.clickhouse_database} SYNC")
    client.close()


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Migration]]:
    def write(*contents: str) -> list[Migration]:
        for number, content in enumerate(contents, start=1):
            (tmp_path / f"{number:04}_m.sql").write_text(content)
        return load_migrations(tmp_path)

    return write


def schema(client: Client, database: str) -> set[tuple[object, ...]]:
    columns = "table, name, type, default_expression, comment"
    sql = f"SELECT {columns} FROM system.columns WHERE database = {{d:String}}"
    return {tuple(row) for row in client.query(sql, parameters={"d": database}).result_rows}


def test_everything_is_applied_once_and_again_nothing(client: Client, settings: Settings) -> None:
    migrator = Migrator(client, settings.clickhouse_database)
    assert len(migrator.pending()) == len(load_migrations())
    said: list[str] = []
    migrator.run(say=said.append)
    assert len(said) == len(load_migrations())
    left = migrator.pending()
    assert all(migration.requires_access for migration in left)
    before = schema(client, settings.clickhouse_database)
    migrator.run()
    assert schema(client, settings.clickhouse_database) == before


def test_two_processes_at_once(client: Client, settings: Settings) -> None:
    program = (
        "import sys; from runtime.settings import load; from cli.migrate import run;"
        "sys.exit(run(load(clickhouse=sys.argv[1], clickhouse_database=sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, settings.clickhouse_url(), settings.clickhouse_database]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    for migration in load_migrations():
        if not migration.requires_access:
            assert sum(f"applied {migration.name}\n" in text for text in printed) == 1
    tables = client.query(f"SHOW TABLES FROM {settings.clickhouse_database} LIKE 'sluice_migrating%'").result_rows
    assert tables == []


@pytest.mark.parametrize("version", range(1, len(load_migrations())))
def test_from_every_earlier_version_with_data(client: Client, settings: Settings, version: int) -> None:
    database, migrations = settings.clickhouse_database, load_migrations()
    Migrator(client, database, migrations=migrations[:version]).run()
    rows = client.query("SELECT name FROM system.tables WHERE database = {d:String} AND endsWith(name, '_rows')",
                        parameters={"d": database}).result_rows  # fmt: skip
    for (name,) in rows:
        client.command(f"INSERT INTO {database}.{name} FORMAT JSONEachRow {{}}")
    Migrator(client, database, migrations=migrations).run()
    for (name,) in rows:
        assert client.command(f"SELECT count() FROM {database}.{name}") == 1
        view = name.removesuffix("_rows")
        if client.command(f"EXISTS {database}.{view}"):
            client.query(f"SELECT * FROM {database}.{view}")


def test_a_destructive_one_is_refused_before_anything_is_applied(
    client: Client, settings: Settings, files: Callable[..., list[Migration]]
) -> None:
    database = settings.clickhouse_database
    migrations = files(
        "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a",
        "CREATE TABLE u (a Int8) ENGINE = MergeTree ORDER BY a; -- harmless\nDROP /* really */ TABLE t",
    )
    migrator = Migrator(client, database, migrations=migrations)
    with pytest.raises(MigrationError, match=r"(?s)0002_m: DROP TABLE t.*|.*--allow-destructive"):
        migrator.run()
    assert client.query(f"SHOW TABLES FROM {database}").result_rows == [("sluice_migrations",)]
    migrator.run(allow_destructive=True)
    assert client.query(f"SHOW TABLES FROM {database}").result_rows == [("sluice_migrations",), ("u",)]


def test_one_that_fails_halfway_is_made_good_by_the_next_run(
    client: Client, settings: Settings, files: Callable[..., list[Migration]]
) -> None:
    database = settings.clickhouse_database
    good = "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a;\n"
    with pytest.raises(MigrationError, match="0001_m: CREATE VIEW v"):
        Migrator(client, database, migrations=files(good + "CREATE VIEW v AS SELECT nothing FROM t")).run()
    Migrator(client, database, migrations=files(good + "CREATE VIEW v AS SELECT a FROM t")).run()
    assert Migrator(client, database, migrations=files(good + "CREATE VIEW v AS SELECT a FROM t")).pending() == []


def test_a_changed_or_unknown_migration_is_an_error(
    client: Client, settings: Settings, files: Callable[..., list[Migration]]
) -> None:
    database = settings.clickhouse_database
    one = "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a"
    Migrator(client, database, migrations=files(one, "CREATE VIEW v AS SELECT a FROM t")).run()
    with pytest.raises(MigrationError, match="0001_m was changed"):
        Migrator(client, database, migrations=files(one + " COMMENT 'x'")).pending()
    with pytest.raises(MigrationError, match="0002_m, which this version of Sluice does not know"):
        Migrator(client, database, migrations=files(one)[:1]).pending()


@pytest.mark.parametrize(
    ("names", "message"),
    [(["0002_a"], "0001 comes next"), (["0001_a", "0001_b"], "0002 comes next"), (["1_a"], "NNNN_name")],
)
def test_wrong_names_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("SELECT 1")
    with pytest.raises(MigrationError, match=message):
        load_migrations(tmp_path)


def test_the_files_are_in_the_package() -> None:
    assert load_migrations(FOLDER)


class TestLock:
    @pytest.fixture
    def database(self, client: Client, settings: Settings) -> str:
        client.command(f"CREATE DATABASE {settings.clickhouse_database}")
        return settings.clickhouse_database

    def test_the_second_waits_for_the_first(self, client: Client, database: str) -> None:
        order: list[str] = []
        with MigrationLock(client, database):
            other = threading.Thread(target=self._hold, args=(client, database, order))
            other.start()
            with pytest.raises(LockTimeout), MigrationLock(client, database, wait=0.5):
                pass
            order.append("first")
        other.join(30)
        assert order == ["first", "second"]

    def _hold(self, client: Client, database: str, order: list[str]) -> None:
        with MigrationLock(client, database, wait=30):
            order.append("second")

    def test_a_crash_leaves_a_lock_that_runs_out(self, client: Client, database: str) -> None:
        dead = MigrationLock(client, database, lease=1.0)
        assert dead._take()  # a holder that never beats
        with MigrationLock(client, database, wait=30, lease=1.0) as lock:
            lock.check()
            with pytest.raises(LockLost):
                dead.check()
        assert client.query(f"SHOW TABLES FROM {database}").result_rows == []

    def test_a_holder_that_beats_is_not_taken_over(self, client: Client, database: str) -> None:
        with MigrationLock(client, database, lease=1.0) as lock:
            with pytest.raises(LockTimeout), MigrationLock(client, database, wait=4.0, lease=1.0):
                pass
            lock.check()


def test_who_may_not_enter_is_told_why(clickhouse: str) -> None:
    with pytest.raises(Refused, match="SLUICE_CLICKHOUSE_PASSWORD"):
        connect(load(clickhouse=clickhouse, clickhouse_password="wrong"), database=False)
    with pytest.raises(Refused, match="run `sluice migrate`"):
        connect(load(clickhouse=clickhouse, clickhouse_database="nowhere"))
    with pytest.raises(Unreachable, match="does not answer"):
        connect(load(clickhouse="http://127.0.0.1:1"), database=False)
