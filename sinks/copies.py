"""The session of each event, copied into the event's row, so that a query that asks for it needs no join.

assignments_rows says which session an event belongs to, and keeps saying so. Behind each insert of events or of
assignments, and before it is settled, what is assigned of the events received in those stretches of time is copied:
into a table of the engine Join, and from it by a lightweight update into the rows whose version is lower. So the later
of an event and its assignment finds the other, and copies may be made any number of times, in any order, by any number
of sinks (docs/decisions/session-of-an-event.md).

Errors: ClickHouse's.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from sinks.epochs import counts
from sinks.feed import VERSION_SHIFT

log = logging.getLogger("sluice.sink")

Span = tuple[int, int]
"""The first and the last time of receipt, in milliseconds since the epoch."""

NEAR = 2000
"""Milliseconds between two stretches that are copied as one."""
SLOT = 100
"""Milliseconds to which stretches are rounded."""
SPANS = 50
"""Stretches that one statement names."""
WIDE = 60_000
"""Milliseconds of stretches whose assignments are not all copied at once, since there may be many."""
CHUNK = 500_000
"""How many then: some 50 MB of memory."""
TAKEN_IN = 20
"""Chunks until patches are taken in, of which a table may have 32 GB before ClickHouse refuses more: some 0.6 GB."""
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
_NOT_OLDER = f"{_VERSION} > 0 AND {_VERSION} >= session_version"
_DIFFERENT = f"""{_NEWER} OR {_VERSION} = session_version AND session_version > 0 AND {_SESSION} != session_id
    OR {_VERSION} = 0 AND session_version BETWEEN 1 AND {{floor}}"""
"""Also those that an epoch that counts no more has assigned."""
_ANYWAY = {_NEWER: _NOT_OLDER, _DIFFERENT: f"{_NOT_OLDER} OR {_VERSION} = 0 AND session_version <= {{floor}}"}
"""The same again, without regard to what seems to be there."""
_UPDATE = f"""
UPDATE events_rows
SET session_id = if({_VERSION} = 0, NULL, {_SESSION}), session_version = {_VERSION}
WHERE ({{within}}) AND ({{which}})
"""  # noqa: S608
_BOUND = """
SELECT toUnixTimestamp64Milli(received_at) FROM assignments_rows
WHERE epoch = {epoch:UInt32} AND received_at >= fromUnixTimestamp64Milli({low:Int64}, 'UTC')
ORDER BY received_at LIMIT 1 OFFSET {count:UInt64}
"""
_WITHOUT = f"""
SELECT toUnixTimestamp64Milli(min(received_at)), toUnixTimestamp64Milli(max(received_at)) FROM events_rows
WHERE stored_at > now64(3) - INTERVAL 1 DAY AND session_version = 0
    AND NOT is_late AND (player_id IS NOT NULL OR device_id IS NOT NULL)
GROUP BY intDiv(toUnixTimestamp64Milli(received_at), {NEAR})
"""  # noqa: S608
_UPGRADED = """
SELECT toInt64(toUnixTimestamp(max(applied_at))) * 1000 AS at FROM sluice_migrations
WHERE name = '0021_events_without_a_join' AND applied_at > now() - INTERVAL 2 DAY
HAVING count() > 0 AND max(applied_at) > (SELECT min(applied_at) FROM sluice_migrations) + INTERVAL 1 HOUR
"""
_MUTATIONS = "FROM system.mutations WHERE database = currentDatabase() AND table = 'events_rows'"
_ENDED = f"SELECT groupArray(mutation_id) {_MUTATIONS} AND is_done"
_SEEN = f"SELECT (SELECT count() FROM {{table}}), (SELECT groupArray(mutation_id) {_MUTATIONS})"  # noqa: S608
_UPDATING = {"enable_lightweight_update": 1, "update_parallel_mode": "auto", "use_query_condition_cache": 0}
"""Two updates of a column come one after the other. That cache remembers by a condition's text which parts hold nothing
that meets it, also where joinGet finds something by now."""
_TABLES = r"""
SELECT name FROM system.tables
WHERE database = currentDatabase() AND engine = 'Join' AND match(name, {pattern:String})
"""
_PATTERN = {"pattern": f"^{PREFIX}[0-9a-f]{{32}}$"}
DAY = 86_400_000


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
    first, last = (at // SLOT for at in ALWAYS)
    slots = {min(max(at // SLOT, first), last) for at in times}
    return merged((slot * SLOT, slot * SLOT + SLOT - 1) for slot in slots)


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
            some = spans[start : start + SPANS]
            if sum(high - low for low, high in some) <= WIDE:
                self._copy(some, _NEWER)
            else:
                epoch = counts(self._client, "sessions")
                for step in (step for span in some for step in self._steps(span, epoch)):
                    self._copy([step], _NEWER)

    def copy_all(self) -> None:
        """Copies every assignment: behind a migration, or when another epoch counts.

        Events that the epoch assigns to no session lose the one that an earlier epoch gave.
        """
        void(self._client)  # what is being copied may be of an earlier epoch
        epoch = counts(self._client, "sessions")
        for nth, step in enumerate(self._steps(ALWAYS, epoch), 1):
            self._copy([step], _DIFFERENT, epoch)
            if nth % TAKEN_IN == 0:
                self._take_in()
        self._take_in()

    def _take_in(self) -> None:
        self._client.command("ALTER TABLE events_rows APPLY PATCHES", settings={"mutations_sync": 2})

    def _steps(self, span: Span, epoch: int) -> Iterator[Span]:
        """The stretch in pieces, of which each has some CHUNK assignments of the epoch."""
        low, end = span
        while low <= end:
            found = self._client.query(_BOUND, parameters={"epoch": epoch, "low": low, "count": CHUNK - 1}).result_rows
            high = min(found[0][0], end) if found else end
            yield low, high
            low = high + 1

    def catch_up(self, lateness: int) -> None:
        """Copies what sinks of before migration 0021 have stored since, without copying it.

        Those are events of the last day without a session; and for two days behind an upgrade whatever is assigned of
        events that a session could still change, by ``lateness`` in milliseconds.
        """
        found = [(low, high) for low, high in self._client.query(_WITHOUT).result_rows]
        found += [(at - lateness - DAY, ALWAYS[1]) for (at,) in self._client.query(_UPGRADED).result_rows]
        self.copy(merged(found))

    def close(self) -> None:
        """Removes the table."""
        self._client.command(f"DROP TABLE IF EXISTS {self.table}")

    def _copy(self, spans: Sequence[Span], which: str, epoch: int = 0) -> None:
        """Again if the table was emptied meanwhile, by `sluice forget` (``void``) or by a restart of the server.

        Again, too, if a mutation of events_rows was made meanwhile: ClickHouse loses an update that is under way when
        a mutation begins (its issue 116686), though rows look updated until the mutation ends. It does not lose one
        that begins later.
        """
        within = " OR ".join(
            f"received_at BETWEEN fromUnixTimestamp64Milli({low}, 'UTC') AND fromUnixTimestamp64Milli({high}, 'UTC')"
            for low, high in spans
        )
        if self._mutations is None:
            self._mutations = set(self._client.query(_ENDED).result_rows[0][0])
        rounds, condition = 0, which
        while True:
            filled = self._fill(within)
            if not (filled or epoch):
                return
            names = {"table": self.table, "within": within, "floor": epoch << VERSION_SHIFT}
            self._client.command(_UPDATE.replace("{which}", condition).format(**names), settings=_UPDATING)
            ((held, seen),) = self._client.query(_SEEN.format(table=self.table)).result_rows
            begun, self._mutations = set(seen) - self._mutations, set(seen)
            if held == filled and not begun:
                return
            if begun:
                condition = _ANYWAY[which]
            rounds += 1
            if rounds > 2:
                log.warning("copies again", extra={"rounds": rounds, "mutations": len(begun), "rows": filled - held})

    def _fill(self, within: str) -> int:
        """Puts assignments into the table, and nothing else; returns how many."""
        self._client.command(_TABLE.format(table=self.table))
        if not self._empty:
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
    for (table,) in client.query(_TABLES, parameters=_PATTERN).result_rows:
        client.command(f"TRUNCATE TABLE IF EXISTS {table}")


def copy_all(client: Client) -> None:
    """As Copier.copy_all."""
    with Copier(client) as copier:
        copier.copy_all()


def catch_up(client: Client, lateness: int) -> None:
    """As Copier.catch_up. Removes what killed sinks have left, too; whose table it was makes another."""
    old = " AND metadata_modification_time < now() - INTERVAL 1 DAY"
    for (table,) in client.query(_TABLES + old, parameters=_PATTERN).result_rows:
        client.command(f"TRUNCATE TABLE IF EXISTS {table}")  # which waits for an update that is under way
        client.command(f"DROP TABLE IF EXISTS {table}")
    with Copier(client) as copier:
        copier.catch_up(lateness)
