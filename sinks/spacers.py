"""Rows of events_rows that no view shows, which cut its parts so that FINAL reads their middles without merging them.

ClickHouse takes the middle out of what it merges only for a stretch of a part that overlaps others at one end, and the
inserts of a sink overlap a little at both. Stretches are what conditions on the key leave of a part. So there are
spacers: rows of a log that no topic has, at one moment, enough of them for a granule of their own, which the condition
of the view leaves out. Whatever part they are merged into then is two stretches (docs/decisions/spacers.md).

Errors: ClickHouse's.
"""

from collections.abc import Sequence

from clickhouse_connect.driver.client import Client

EVERY = 250_000
"""Events between two spacers: a part with fewer may be merged by each query, 0.08 µs a row."""
ROWS = 16_384
"""Of a spacer. A granule has 8,192 rows at most, so that two of them begin in here, wherever granules begin."""
LOG = -1
"""The log's incarnation: runtime.logid gives numbers above zero."""

_INSERT = f"""
INSERT INTO events_rows (received_at, ingest_log, ingest_partition, ingest_offset)
SELECT fromUnixTimestamp64Milli({{at:Int64}}, 'UTC'), {LOG}, 0, number FROM numbers({ROWS})
WHERE (SELECT count() FROM sluice_migrations WHERE name = '0022_spacers') > 0
"""  # noqa: S608 - numbers of our own
_SETTINGS = {"async_insert": 0, "insert_deduplicate": 0, "deduplicate_insert": "disable"}


class Spacing:
    """When one sink puts a spacer, and where."""

    def __init__(self) -> None:
        self._since = 0
        """Events since the last."""

    def due(self, received: Sequence[int]) -> int | None:
        """Counts a block of events that is stored, by when each was received; returns where a spacer is to go now.

        All in milliseconds since the epoch. Most of the block's events are near it.
        """
        self._since += len(received)
        if self._since < EVERY or not received:
            return None
        self._since = 0
        return sorted(received)[len(received) // 2]


def put(client: Client, at: int) -> None:
    """Puts a spacer at this time; none where the view would still show it (a migration is to come)."""
    client.command(_INSERT, parameters={"at": at}, settings=_SETTINGS)
