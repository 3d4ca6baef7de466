"""Rows of events_rows that no view shows, which cut its parts so that FINAL reads their middles without merging them.

ClickHouse takes the middle out of what it merges only for a stretch of a part that overlaps others at one end, and the
inserts of a sink overlap a little at both. Stretches are what conditions on the key leave of a part. So there are
spacers: rows of a log that no topic has, at one moment, enough of them for a granule of their own, which the condition
of the view leaves out. Whatever part they are merged into then is two stretches (docs/decisions/spacers.md).

Errors: ClickHouse's.
"""

import logging
from collections.abc import Sequence

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

log = logging.getLogger("sluice.sink")

EVERY = 250_000
"""Events between two spacers: a part with fewer may be merged by each query, 0.08 µs a row."""
ROWS = 20_480
"""Of a spacer. A granule has 8,192 rows at most, a part's last one up to 12,287: two begin in here, wherever that is,
and the first of these holds nothing else."""
LOG = -1
"""The log's incarnation: runtime.logid gives numbers above zero."""

_INSERT = f"""
INSERT INTO events_rows (received_at, ingest_log, ingest_partition, ingest_offset)
SELECT fromUnixTimestamp64Milli({{at:Int64}}, 'UTC'), {LOG}, 0, number FROM numbers({ROWS})
WHERE (SELECT count() FROM sluice_migrations WHERE name = '0022_spacers') > 0
"""  # noqa: S608 - numbers of our own
_WHOLE = "ALTER TABLE events_rows MODIFY SETTING primary_key_ratio_of_unique_prefix_values_to_skip_suffix_columns = 1"
"""As migration 0022 does behind it, on each server of a cluster."""
_SETTINGS = {"async_insert": 0, "insert_deduplicate": 0, "deduplicate_insert": "disable"}


class Spacing:
    """When one sink puts a spacer."""

    def __init__(self) -> None:
        self._since = 0
        """Events since the last."""

    def due(self, events: int) -> bool:
        """Counts events that are stored; returns whether a spacer is to go among them."""
        self._since += events
        if self._since < EVERY or not events:
            return False
        self._since = 0
        return True


def put(client: Client, received: Sequence[int]) -> None:
    """Puts a spacer in the middle of events received at these times, in milliseconds since the epoch.

    None where the view would still show it (a migration is to come).
    """
    middle = sorted(received)[len(received) // 2]
    client.command(_INSERT, parameters={"at": middle}, settings=_SETTINGS)


def load_keys(client: Client) -> None:
    """Has ClickHouse keep the whole key, also of parts that it loaded before: one without it spoils it for all."""
    client.command(_WHOLE)
    try:
        client.command("SYSTEM UNLOAD PRIMARY KEY events_rows")
    except DatabaseError as error:
        log.warning(
            "restart ClickHouse, or run SYSTEM UNLOAD PRIMARY KEY events_rows, so that queries get cheaper",
            extra={"reason": repr(error)},
        )
