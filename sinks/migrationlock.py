"""One migrating process at a time, without a lock that a crash leaves behind.

Whoever creates the table ``sluice_migrating_<n + 1>`` holds the lock: of two processes only one succeeds, since
CREATE TABLE is atomic. The holder writes its heartbeat into the table; when it has been silent for LEASE seconds, by
ClickHouse's clock, the next generation may be created over it. A holder that was only paused finds out before its next
statement, and every statement is repeatable, so the one at hand does no harm.

On a cluster the lock holds for processes that migrate through the same server.

Errors: LockLost, LockTimeout.
"""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError

LEASE = 20.0
"""Seconds of silence after which a holder counts as dead."""
_PREFIX = "sluice_migrating_"
_TABLE_ALREADY_EXISTS = 57
_UNKNOWN_TABLE = 60


class LockLost(Exception):  # noqa: N818
    """Another process took over, because this one was silent for too long."""


class LockTimeout(Exception):  # noqa: N818
    """Another process kept the lock for longer than one may wait."""


class MigrationLock:
    """``with MigrationLock(client, database) as lock:`` and ``lock.check()`` before each step."""

    def __init__(self, client: Client, database: str, wait: float = 600.0, lease: float = LEASE) -> None:
        self._client, self._database, self._wait, self._lease = client, database, wait, lease
        self._generation = 0
        self._done = threading.Event()
        self._beating: threading.Thread | None = None

    def __enter__(self) -> "MigrationLock":
        until = time.monotonic() + self._wait
        while not self._take():
            if time.monotonic() > until:
                raise LockTimeout(f"another process has been migrating for {self._wait:.0f} seconds")
            time.sleep(0.1)
        self._beating = threading.Thread(target=self._beat, daemon=True)
        self._beating.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()
        assert self._beating is not None
        self._beating.join()
        with suppress(ClickHouseError):  # it runs out by itself where ClickHouse has gone
            self._client.command(f"DROP TABLE IF EXISTS {self._table(self._generation)} SYNC")

    def check(self) -> None:
        """Raises LockLost where a later generation exists."""
        if max(self._generations(), default=0) != self._generation:
            raise LockLost("another process took over the migration")

    def _take(self) -> bool:
        generations = self._generations()
        newest = max(generations, default=0)
        if newest and not self._is_dead(newest):
            return False
        table = self._table(newest + 1)
        try:
            self._client.command(f"CREATE TABLE {table} (beat DateTime64(3)) ENGINE = MergeTree ORDER BY beat")
        except DatabaseError as error:
            if error.code == _TABLE_ALREADY_EXISTS:
                return False
            raise
        self._generation = newest + 1
        for old in generations:
            self._client.command(f"DROP TABLE IF EXISTS {self._table(old)} SYNC")
        return True

    def _is_dead(self, generation: int) -> bool:
        name = _PREFIX + str(generation)
        try:
            silent: Any = self._client.command(
                "SELECT toFloat64(now64(3))"  # noqa: S608 - a checked name
                f" - greatest((SELECT toFloat64(max(beat)) FROM {self._table(generation)}),"
                " (SELECT toFloat64(max(metadata_modification_time)) FROM system.tables"
                " WHERE database = {database:String} AND name = {name:String}))",
                parameters={"database": self._database, "name": name},
            )
        except DatabaseError as error:
            if error.code == _UNKNOWN_TABLE:
                return False  # released at this moment
            raise
        return float(silent) > self._lease

    def _generations(self) -> list[int]:
        rows = self._client.query(
            "SELECT name FROM system.tables WHERE database = {database:String} AND startsWith(name, {prefix:String})",
            parameters={"database": self._database, "prefix": _PREFIX},
        ).result_rows
        return [int(name[len(_PREFIX) :]) for (name,) in rows]

    def _beat(self) -> None:
        while not self._done.wait(self._lease / 4):
            with suppress(ClickHouseError):  # the next beat may get through; until then `check` decides
                self._client.command(f"INSERT INTO {self._table(self._generation)} SELECT now64(3)")

    def _table(self, generation: int) -> str:
        return f"`{self._database}`.`{_PREFIX}{generation}`"
