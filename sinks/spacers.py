"""Rows that no view shows, which cut parts of tables so that FINAL reads their middles without merging them.

ClickHouse takes the middle out of what it merges only for a stretch of a part that overlaps others at one end, and the
inserts of a sink overlap a little at both. Stretches are what conditions on the key leave of a part. So there are
spacers: rows that have one time and what no row of the table has behind it in the key, enough of them for a granule of
their own, which a condition of the view leaves out. Whatever part they are merged into then is two stretches
(docs/decisions/spacers.md).

Errors: ClickHouse's.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

log = logging.getLogger("sluice.sink")

ROWS = 20_480
"""Of a spacer. A granule has 8,192 rows at most, a part's last one up to 12,287: two begin in here, wherever that is,
and the first of these holds nothing else."""
LOG = -1
"""The log's incarnation of events' spacers: runtime.logid gives numbers above zero."""
SAMPLE = 9
"""Rows of a block that are looked at for its middle."""


@dataclass(frozen=True)
class Spacer:
    """A table's."""

    table: str
    time: str
    """The field of a record that leads the key of its row."""
    columns: str
    """Of its rows; all others have their defaults."""
    values: str
    """Of a row, made of ``at``, ``epoch`` and ``number``."""
    every: int
    """Inserted rows between two spacers: a part with fewer may be merged by each query, 0.08 µs a row."""
    migration: str
    """The one whose views leave them out."""
    shown: str = ""
    """The condition that leaves them out, where FINAL does not."""

    @property
    def insert(self) -> str:
        """Gives no rows while the views would show them (a migration is to come)."""
        return f"""
            INSERT INTO {self.table} ({self.columns})
            WITH fromUnixTimestamp64Milli({{at:Int64}}, 'UTC') AS at, {{epoch:UInt32}} AS epoch
            SELECT {self.values} FROM numbers({ROWS})
            WHERE (SELECT count() FROM sluice_migrations WHERE name = '{self.migration}') > 0
        """  # noqa: S608 - names and numbers of our own


SPACERS = {
    "events": Spacer(
        "events_rows", "received_at",
        "received_at, ingest_log, ingest_partition, ingest_offset", f"at, {LOG}, 0, number",
        250_000, "0022_spacers", f"ingest_log != {LOG}",
    ),
    "bets": Spacer(
        "bets_rows", "first_received_at",
        "epoch, first_received_at, tenant, bet_id", "epoch, at, '', toString(number)",
        1_000_000, "0026_spacers_of_bets", "status != ''",
    ),
    "sessions": Spacer(
        # Ids below any session's, which are hashes. Deleted, so that FINAL leaves them out.
        "sessions_rows", "started_at",
        "epoch, started_at, session_id, is_deleted",
        "epoch, at, toUUID('00000000-0000-0000-0000-' || leftPad(toString(number), 12, '0')), 1",
        1_000_000, "0026_spacers_of_bets",
    ),
}  # fmt: skip
"""By the view over the table."""

_WHOLE = "ALTER TABLE {table} MODIFY SETTING primary_key_ratio_of_unique_prefix_values_to_skip_suffix_columns = 1"
"""As the migrations do behind it, on each server of a cluster."""
_SETTINGS = {"async_insert": 0, "insert_deduplicate": 0, "deduplicate_insert": "disable"}


class Spacing:
    """When one sink puts a spacer among the rows of a view."""

    def __init__(self, view: str) -> None:
        self._every = SPACERS[view].every if view in SPACERS else 0
        self._since = 0
        """Rows since the last."""

    def due(self, rows: int) -> bool:
        """Counts rows that are stored; returns whether a spacer is to go among them."""
        self._since += rows
        if not self._every or self._since < self._every or not rows:
            return False
        self._since = 0
        return True


def put(client: Client, view: str, times: Sequence[int], epoch: int = 0) -> None:
    """Puts a spacer in the middle of rows with these times, in milliseconds since the epoch.

    None where the view would still show it.
    """
    middle = sorted(times)[len(times) // 2]
    client.command(SPACERS[view].insert, parameters={"at": middle, "epoch": epoch}, settings=_SETTINGS)


def sample(records: Sequence[object]) -> Sequence[object]:
    """Some of the records, from begin to end."""
    return records[:: max(1, len(records) // SAMPLE)]


def load_keys(*views: str) -> Callable[[Client], None]:
    """Has ClickHouse keep the whole keys, also of parts that it loaded before: one without it spoils it for all."""

    def load(client: Client) -> None:
        for table in (SPACERS[view].table for view in views):
            client.command(_WHOLE.format(table=table))
            try:
                client.command(f"SYSTEM UNLOAD PRIMARY KEY {table}")
            except DatabaseError as error:
                log.warning(
                    f"restart ClickHouse, or run SYSTEM UNLOAD PRIMARY KEY {table}, so that queries get cheaper",
                    extra={"reason": repr(error)},
                )

    return load
