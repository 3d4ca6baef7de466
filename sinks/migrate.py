"""Numbered SQL files, applied once each, in order, recorded in the database (spec/warehouse.md).

A migration that was applied is never changed: its checksum is recorded, and a difference is an error. Statements are
made repeatable, so that a run that was cut off is made good by the next. A file whose first line is
``-- requires: access management`` is skipped where the account may not manage access (the embedded ClickHouse has
accounts of its own), and tried again by the next run.

Errors: MigrationError, and what sinks.migrationlock raises.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

from sinks.copies import copy_all
from sinks.migrationlock import MigrationLock
from sinks.spacers import load_keys
from sinks.statements import Statement, StatementError, split

STEPS: dict[str, tuple[Callable[[Client], None], str]] = {
    "0021_events_without_a_join": (copy_all, "copies sessions into the rows of events, seconds for a million"),
    "0022_spacers": (load_keys("events"), "loads the keys of events anew"),
    "0026_spacers_of_bets": (load_keys("bets", "sessions"), "loads the keys of bets and sessions anew"),
}
"""What must be done before a migration, and is more than statements; repeatable, too. And what to tell of it."""
FOLDER = Path(__file__).parent / "migrations"
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_REQUIRES_ACCESS = "-- requires: access management"
_ACCESS_ERRORS = (497, 511, 514)  # access denied; the role is unknown, since creating it was; access storage read-only
_RECORDS = """
CREATE TABLE sluice_migrations
(
    name String COMMENT 'file name of the migration',
    checksum String COMMENT 'SHA-256 of the file, hex',
    state LowCardinality(String) COMMENT 'applied or skipped',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY name
COMMENT 'Migrations of this database'
"""


class MigrationError(Exception):
    """The database and the files do not fit, or a statement was refused; the message says which and why."""


@dataclass(frozen=True)
class Migration:
    """One file."""

    name: str
    checksum: str
    statements: tuple[Statement, ...]
    requires_access: bool

    @classmethod
    def read(cls, path: Path) -> "Migration":
        text = path.read_text()
        try:
            statements = tuple(split(text))
        except StatementError as error:
            raise MigrationError(f"{path.name}: {error}") from None
        checksum = hashlib.sha256(text.encode()).hexdigest()
        return cls(path.stem, checksum, statements, text.startswith(_REQUIRES_ACCESS))

    def destructive(self) -> list[Statement]:
        """The statements that might drop or rewrite stored data."""
        return [statement for statement in self.statements if statement.is_destructive()]


def load(folder: Path = FOLDER) -> list[Migration]:
    """All migrations in order. Raises MigrationError for a wrong name, a gap or a number given twice."""
    paths = sorted(folder.glob("*.sql"))
    for expected, path in enumerate(paths, start=1):
        found = _NAME.fullmatch(path.name)
        if found is None:
            raise MigrationError(f"{path.name}: a migration is called NNNN_name.sql")
        if int(found[1]) != expected:
            raise MigrationError(f"{path.name}: the number {expected:04} comes next")
    return [Migration.read(path) for path in paths]


class Migrator:
    """Brings one database up to date."""

    def __init__(
        self, client: Client, database: str, cluster: str | None = None, migrations: Sequence[Migration] | None = None
    ) -> None:
        self._client, self._database, self._cluster = client, database, cluster
        self._migrations = list(load() if migrations is None else migrations)

    def pending(self) -> list[Migration]:
        """Those not applied yet. Raises MigrationError where the database is not what the files made."""
        applied = self._applied()
        known = {migration.name for migration in self._migrations}
        if unknown := sorted(applied.keys() - known):
            raise MigrationError(f"the database has {', '.join(unknown)}, which this version of Sluice does not know")
        for migration in self._migrations:
            checksum, _ = applied.get(migration.name, (migration.checksum, ""))
            if checksum != migration.checksum:
                raise MigrationError(f"{migration.name} was changed after it was applied; write a new migration")
        return [migration for migration in self._migrations if applied.get(migration.name, ("", ""))[1] != "applied"]

    def sql(self, statement: Statement) -> str:
        """The statement as it is run."""
        return statement.for_cluster(self._cluster) if self._cluster else statement.repeatable()

    def run(self, allow_destructive: bool = False, say: Callable[[str], object] = lambda line: None) -> None:
        """Applies what is pending. Raises MigrationError; what was applied before that stays recorded."""
        self._create_database()
        if not self.pending():
            return
        with MigrationLock(self._client, self._database) as lock:
            pending = self.pending()
            if not allow_destructive:
                _refuse(pending)
            is_new = len(pending) == len(self._migrations)
            for migration in pending:
                self._prepare(migration, (lambda line: None) if is_new else say)
                state = self._apply(migration, lock)
                self._record(migration, state)
                say(f"{state} {migration.name}")

    def _create_database(self) -> None:
        cluster = f" ON CLUSTER `{self._cluster}`" if self._cluster else ""
        self._client.command(f"CREATE DATABASE IF NOT EXISTS `{self._database}`{cluster}", use_database=False)
        self._client.database = self._database  # names in migrations are bare
        self._client.command(self.sql(split(_RECORDS)[0]))

    def _prepare(self, migration: Migration, say: Callable[[str], object]) -> None:
        if migration.name in STEPS:
            step, what = STEPS[migration.name]
            say(f"before {migration.name}: {what}")
            try:
                step(self._client)
            except ClickHouseError as error:
                raise MigrationError(f"before {migration.name}: {what}: {error}") from error

    def _apply(self, migration: Migration, lock: MigrationLock) -> str:
        for statement in migration.statements:
            lock.check()
            try:
                self._client.command(self.sql(statement))
            except DatabaseError as error:
                if migration.requires_access and error.code in _ACCESS_ERRORS:
                    return "skipped"
                raise MigrationError(f"{migration.name}: {statement.head} ...: {error}") from error
        return "applied"

    def _applied(self) -> dict[str, tuple[str, str]]:
        """(checksum, state) by name; nothing where the database is new."""
        exists = self._client.command(
            "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'sluice_migrations'",
            parameters={"database": self._database},
        )
        if not exists:
            return {}
        rows = self._client.query(
            "SELECT name, argMax(checksum, applied_at), argMax(state, applied_at)"  # noqa: S608 - a checked name
            f" FROM `{self._database}`.sluice_migrations GROUP BY name"
        ).result_rows
        return {name: (checksum, state) for name, checksum, state in rows}

    def _record(self, migration: Migration, state: str) -> None:
        self._client.command(
            "INSERT INTO sluice_migrations (name, checksum, state) VALUES"
            " ({name:String}, {checksum:String}, {state:String})",
            parameters={"name": migration.name, "checksum": migration.checksum, "state": state},
        )


def _refuse(pending: Sequence[Migration]) -> None:
    lines = [f"{m.name}: {statement.head} ..." for m in pending for statement in m.destructive()]
    if lines:
        raise MigrationError(
            "these statements may drop or rewrite stored data; nothing was applied."
            " Make a backup and pass --allow-destructive:\n  " + "\n  ".join(lines)
        )
