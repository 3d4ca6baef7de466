"""The session of each event, copied into the event's row, so that a query that asks for it needs no join.

assignments_rows says which session an event belongs to, and keeps saying so. Behind each insert of events or of
assignments, and before it is settled, what is assigned of the events received in those stretches of time is copied:
into a table of the engine Join, and from it by a lightweight update into the rows whose version is lower. So the later
of an event and its assignment finds the other, and copies may be made any number of times, in any order, by any number
of sinks (docs/decisions/session-of-an-event.md).

Errors: ClickHouse's.
"""

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from sinks.epochs import counts
from sinks.feed import VERSION_SHIFT

Span = tuple[int, int]
"""The first and the last time of receipt, in milliseconds since the epoch."""

NEAR = 2000
"""Milliseconds between two stretches that are copied as one."""
SLOT = 100
"""Milliseconds to which stretches are rounded."""
SPANS = 50
"""Stretches that one statement names."""
CHUNK = 500_000
"""Assignments held in memory at once, where all are copied: some 50 MB."""
ALWAYS = (0, 10_413_791_999_999)
"""Whatever a column of type DateTime64(3) holds that a gateway has received."""

PREFIX = "copies_"
_KEY = "received_at, ingest_log, ingest_partition, ingest_offset"
_TABLE = f"""
CREATE TABLE IF NOT EXISTS {{table}}
(
    received_at DateTime64(3, 'UTC') COMMENT 'when the gateway received the event',
    ingest_log Int64 COMMENT 'the event''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'the event''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'the event''s place in ingest.events: offset',
    session_id UUID COMMENT 'session to which the event belongs',
    session_version UInt64 COMMENT 'version of that assignment, plus one'
)
ENGINE = Join(ANY, LEFT, {_KEY})
SETTINGS join_any_take_last_row = 1, persistent = 0
COMMENT 'What a sink is copying into events_rows; gone with the sink'
"""
_FILL = f"""
INSERT INTO {{table}} SELECT {_KEY}, session_id, version + 1 FROM assignments_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'sessions') AND ({{within}})
"""  # noqa: S608 - names and numbers of our own, here and below
_VERSION, _SESSION = (
    f"joinGet('{{table}}', '{name}', received_at, ingest_log, ingest_partition, ingest_offset)"
    for name in ("session_version", "session_id")
)
_NEWER = f"{_VERSION} > session_version"
_DIFFERENT = f"""{_NEWER} OR {_VERSION} = session_version AND session_version > 0 AND {_SESSION} != session_id
    OR {_VERSION} = 0 AND session_version BETWEEN 1 AND {{floor}}"""
"""Also those that an epoch that counts no more has assigned."""
_UPDATE = f"""
UPDATE events_rows
SET session_id = if({_VERSION} = 0, NULL, {_SESSION}), session_version = {_VERSION}
WHERE ({{within}}) AND ({{which}})
"""  # noqa: S608
_BOUND = """
SELECT toUnixTimestamp64Milli(received_at) FROM assignments_rows
WHERE epoch = {epoch:UInt32} AND received_at > fromUnixTimestamp64Milli({low:Int64}, 'UTC')
ORDER BY received_at LIMIT 1 OFFSET {count:UInt64}
"""
_WITHOUT = f"""
SELECT toUnixTimestamp64Milli(min(received_at)), toUnixTimestamp64Milli(max(received_at)) FROM events_rows
WHERE stored_at > now64(3) - INTERVAL 1 DAY AND session_version = 0
    AND NOT is_late AND (player_id IS NOT NULL OR device_id IS NOT NULL)
GROUP BY intDiv(toUnixTimestamp64Milli(received_at), {NEAR})
"""  # noqa: S608
_MUTATIONS = """
(SELECT groupArray(mutation_id) FROM system.mutations WHERE database = currentDatabase() AND table = 'events_rows')
"""
_UPDATING = {"enable_lightweight_update": 1, "use_query_condition_cache": 0}
"""That cache remembers by a condition's text which parts hold nothing, also where joinGet finds something by now."""
_TABLES = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})"


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same stretches, ascending, those that are near each other as one."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1] + NEAR:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return found


def spans_of(times: Iterable[int]) -> list[Span]:
    """The stretches that hold these times, of milliseconds."""
    return merged((slot * SLOT, slot * SLOT + SLOT - 1) for slot in {at // SLOT for at in times})


class Copier:
    """One at a time copies: calls must not overlap. A context manager, which removes its table at the end."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.table = f"{PREFIX}{uuid4().hex}"
        """What is being copied, or was last."""
        self._empty = False
        """Whether the table is known to be there and to hold nothing."""
        self._mutations: set[str] | None = None
        """Those of events_rows that were there behind the last update; None: not known."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def copy(self, spans: Sequence[Span]) -> None:
        """Copies what is assigned of the events received in ``spans``."""
        for start in range(0, len(spans), SPANS):
            self._copy(spans[start : start + SPANS], _NEWER)

    def copy_all(self) -> None:
        """Copies every assignment: behind a migration, or when another epoch counts.

        Events that the epoch assigns to no session lose the one that an earlier epoch gave.
        """
        void(self._client)  # what is being copied may be of an earlier epoch
        epoch, (low, end) = counts(self._client, "sessions"), ALWAYS
        while low < end:
            found = self._client.query(_BOUND, parameters={"epoch": epoch, "low": low, "count": CHUNK - 1}).result_rows
            high = found[0][0] if found else end
            self._copy([(low, high)], _DIFFERENT, epoch)
            low = high + 1 if high < end else end
        self._client.command("ALTER TABLE events_rows APPLY PATCHES", settings={"mutations_sync": 2})

    def catch_up(self) -> None:
        """Copies what a sink of an earlier version has stored in the last day without its session.

        Removes what sinks that were killed have left.
        """
        old = " AND engine = 'Join' AND metadata_modification_time < now() - INTERVAL 1 DAY"
        for (table,) in self._client.query(_TABLES + old, parameters={"prefix": PREFIX}).result_rows:
            self._client.command(f"DROP TABLE IF EXISTS {table}")
        self.copy(merged((low, high) for low, high in self._client.query(_WITHOUT).result_rows))

    def close(self) -> None:
        """Removes the table."""
        self._client.command(f"DROP TABLE IF EXISTS {self.table}")

    def _copy(self, spans: Sequence[Span], which: str, epoch: int = 0) -> None:
        """Again if the table was emptied meanwhile, by `sluice forget` (``void``) or by a restart of the server.

        Again, too, if a mutation of events_rows was made meanwhile: ClickHouse loses an update that is under way when
        a mutation begins (its issue 116686), and not one that begins later.
        """
        within = " OR ".join(
            f"received_at BETWEEN fromUnixTimestamp64Milli({low}, 'UTC') AND fromUnixTimestamp64Milli({high}, 'UTC')"
            for low, high in spans
        )
        update = _UPDATE.replace("{which}", which).format(table=self.table, within=within, floor=epoch << VERSION_SHIFT)
        while True:
            if self._mutations is None:
                self._mutations = self._seen("0")[1]
            filled = self._fill(within)
            if not (filled or epoch):
                return
            self._client.command(update, settings=_UPDATING)
            held, mutations = self._seen(f"(SELECT count() FROM {self.table})")  # noqa: S608
            undisturbed, self._mutations = held == filled and mutations <= self._mutations, mutations
            if undisturbed:
                return

    def _seen(self, held: str) -> tuple[int, set[str]]:
        """The number ``held``, and which mutations of events_rows there are."""
        ((number, mutations),) = self._client.query(f"SELECT {held}, {_MUTATIONS}").result_rows
        return int(number), set(mutations)

    def _fill(self, within: str) -> int:
        """Puts assignments into the table, and nothing else; returns how many."""
        if not self._empty:
            self._client.command(_TABLE.format(table=self.table))
            self._client.command(f"TRUNCATE TABLE {self.table}")
        self._empty = False
        sql = _FILL.format(table=self.table, within=within)
        filled = self._client.raw_insert("", insert_block=sql.encode(), settings={"wait_end_of_query": 1}).written_rows
        self._empty = not filled
        return filled


def void(client: Client) -> None:
    """Empties what anyone is copying at the moment, who then copies anew: assignments have changed without a version.

    An update that is under way ends before, since it holds its table.
    """
    for (table,) in client.query(_TABLES, parameters={"prefix": PREFIX}).result_rows:
        client.command(f"TRUNCATE TABLE IF EXISTS {table}")


def copy_all(client: Client) -> None:
    """As Copier.copy_all."""
    with Copier(client) as copier:
        copier.copy_all()


def catch_up(client: Client) -> None:
    """As Copier.catch_up."""
    with Copier(client) as copier:
        copier.catch_up()
