"""The balance: each offset of ingest.events is exactly one of stored, duplicate, conflict, or a dead letter.

Offsets that a person accepted to lose (--accept-loss) are counted apart, and are not missing (sinks/accepted.py).
Replays of dead letters stand in ingest.events too, and were accepted at the offset of their letter: they do not count.

Set-based, with one bitmap of offsets per partition and table, so that millions of events take seconds. What was
accepted is what the log says, by its end offsets; what became of it is what the views say, by ingest coordinates. Found
beside that: rows that changed since they were inserted (by their checksum), and rows that the log never had.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client

from runtime.losses import Loss
from schemas.topics import INGEST_EVENTS
from sinks.spacers import SPACERS

KINDS = {"stored": "events", "duplicates": "duplicates", "conflicts": "conflicts"}
KEEPING_OUT = ("dedup", "sink.events", "sink.duplicates", "sink.conflicts")
"""Stages whose dead letter stands in an event's place, as long as nothing else does."""
CHECKED = ("events", "duplicates", "conflicts", "bets", "sessions", "attributions")
"""Tables whose rows carry a checksum."""
MOST = 1000
"""Offsets of a partition that are listed for one kind of difference."""

_ROWS = """
SELECT ingest_partition AS p, ingest_offset AS o, 1 AS kind FROM events WHERE ingest_log = {log:Int64}
UNION ALL SELECT ingest_partition, ingest_offset, 2 FROM duplicates WHERE ingest_log = {log:Int64}
UNION ALL SELECT ingest_partition, ingest_offset, 3 FROM conflicts WHERE ingest_log = {log:Int64}
UNION ALL SELECT assumeNotNull(ingest_partition), assumeNotNull(ingest_offset), 4 FROM dead_letters
    WHERE ingest_log = {log:Int64} AND ingest_offset IS NOT NULL AND stage IN {stages:Array(String)}
UNION ALL SELECT partition, offset, 5 FROM replays WHERE topic = {topic:String} AND log = {log:Int64}
"""
_BALANCE = f"""
SELECT
    p,
    transform(p, {{partitions:Array(UInt32)}}, {{ends:Array(UInt64)}}, toUInt64(0)) AS log_end,
    bitmapCardinality(bitmapSubsetInRange(s, 0, log_end)) AS stored,
    bitmapCardinality(bitmapSubsetInRange(d, 0, log_end)) AS duplicates,
    bitmapCardinality(bitmapSubsetInRange(c, 0, log_end)) AS conflicts,
    bitmapCardinality(bitmapSubsetInRange(bitmapAndnot(l, known), 0, log_end)) AS dead_letters,
    bitmapCardinality(bitmapSubsetInRange(bitmapAndnot(r, everything), 0, log_end)) AS replays,
    bitmapCardinality(bitmapSubsetInRange(everything, 0, log_end)) AS covered,
    bitmapToArray(subBitmap(twice, 0, {MOST})) AS doubled_at,
    bitmapCardinality(twice) + toUInt64(rows) - bitmapCardinality(s) - bitmapCardinality(d) - bitmapCardinality(c)
        AS doubled
FROM
(
    SELECT
        p, s, d, c, l, r, rows, bitmapOr(bitmapOr(s, d), c) AS known, bitmapOr(known, l) AS everything,
        bitmapOr(bitmapAnd(s, bitmapOr(d, c)), bitmapAnd(d, c)) AS twice
    FROM
    (
        SELECT
            p, groupBitmapStateIf(o, kind = 1) AS s, groupBitmapStateIf(o, kind = 2) AS d,
            groupBitmapStateIf(o, kind = 3) AS c, groupBitmapStateIf(o, kind = 4) AS l,
            groupBitmapStateIf(o, kind = 5) AS r, countIf(kind < 4) AS rows
        FROM ({_ROWS})
        GROUP BY p
    )
)
"""  # noqa: S608 - made of constants
_MISSING = f"""
WITH (SELECT groupBitmapState(o) FROM ({_ROWS}) WHERE p = {{partition:UInt32}}) AS found
SELECT number FROM numbers({{end:UInt64}})
WHERE NOT bitmapContains(found, number)
    AND NOT arrayExists(
        (start, stop) -> number >= start AND number < stop, {{starts:Array(UInt64)}}, {{stops:Array(UInt64)}}
    )
ORDER BY number LIMIT {MOST}
"""  # noqa: S608 - made of constants
_COVERED = f"""
SELECT uniqExact(o) AS covered FROM ({_ROWS})
WHERE p = {{partition:UInt32}} AND o >= {{start:UInt64}} AND o < {{end:UInt64}}
"""  # noqa: S608 - made of constants
_REPEATED = f"""
SELECT p, o FROM ({_ROWS}) WHERE kind < 4 GROUP BY p, o, kind HAVING count() > 1 ORDER BY p, o LIMIT {MOST}
"""  # noqa: S608 - made of constants
_BEYOND = f"""
SELECT p, o FROM ({_ROWS})
WHERE o >= transform(p, {{partitions:Array(UInt32)}}, {{ends:Array(UInt64)}}, toUInt64(0))
GROUP BY p, o ORDER BY o DESC LIMIT {MOST}
"""  # noqa: S608 - made of constants
_COMPUTED = """
SELECT name, default_expression AS expression FROM system.columns
WHERE database = currentDatabase() AND table = {table:String} AND name IN ('checksum', 'version') AND expression != ''
"""
"""A checksum is of all columns but stored_at; of that the version is made, where the first storing of a row counts."""
_LATER = """
SELECT stage, count() AS letters FROM dead_letters
WHERE stage NOT IN {stages:Array(String)} AND fate != 'replayed' GROUP BY stage
"""


@dataclass(frozen=True)
class Difference:
    """Offsets of a partition of ingest.events, ``start`` to ``end`` inclusive, that are not as they should be."""

    what: str
    """missing, doubled, altered or beyond."""
    partition: int
    start: int
    end: int
    stage: str = ""
    """Where they stopped, or which table holds them."""

    def line(self) -> str:
        """For people."""
        offsets = str(self.start) if self.start == self.end else f"{self.start}-{self.end}"
        return f"{self.what:8} ingest.events-{self.partition}@{offsets}" + (f"  {self.stage}" if self.stage else "")


@dataclass
class Balance:
    """What came in, what became of it, and every difference."""

    ingested: int = 0
    """Accepted events: offsets of the log without those of replays."""
    stored: int = 0
    duplicates: int = 0
    conflicts: int = 0
    dead_letters: int = 0
    accepted_losses: int = 0
    """Offsets that nothing accounts for, deleted before dedup had read them, which a person accepted; not missing."""
    missing: int = 0
    doubled: int = 0
    altered: int = 0
    beyond: int = 0
    """Rows at offsets that the log has never had."""
    differences: list[Difference] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    """Every accepted loss, of other readers and other topics too."""
    later: dict[str, int] = field(default_factory=dict)
    """Dead letters of later stages, but those replayed, by stage: what follows from their events is not there."""

    derived: dict[str, int] | None = None
    """What is wrong with bets, sessions and attributions and no dead letter explains, and how often; None: not
    compared, as records were on their way."""
    waiting: dict[str, int] = field(default_factory=dict)
    """How many those were, by reader and topic; none where they came while it was compared."""

    @property
    def offsets_balance(self) -> bool:
        """Whether every offset is accounted for once."""
        return not (self.missing or self.doubled)

    @property
    def balanced(self) -> bool:
        """Whether, besides, nothing was altered, nothing is from nowhere, and what is derived fits the events."""
        return self.offsets_balance and not (self.altered or self.beyond or self.derived)


class Auditor:
    """Compares the tables with one incarnation of ingest.events."""

    def __init__(self, client: Client, log: int) -> None:
        self._client = client
        self._common = {"log": log, "stages": list(KEEPING_OUT), "topic": INGEST_EVENTS.name}

    def balance(self, ends: Mapping[int, int]) -> Balance:
        """For the offsets before ``ends``, by partition. Only counts: ``explain`` says which offsets."""
        found = Balance(ingested=sum(ends.values()))
        covered = 0
        for row in self._rows(_BALANCE, partitions=list(ends), ends=list(ends.values())):
            for name in ("stored", "duplicates", "conflicts", "dead_letters", "doubled"):
                setattr(found, name, getattr(found, name) + row[name])
            covered += row["covered"]
            found.ingested -= row["replays"]
            stage = "in more than one table"
            found.differences += ranges("doubled", row["p"], row["doubled_at"], stage)
        found.missing = found.ingested - covered
        found.later = {row["stage"]: row["letters"] for row in self._rows(_LATER)}
        return found

    def missing(self, partition: int, end: int, accepted: Sequence[tuple[int, int]] = ()) -> list[int]:
        """The first offsets before ``end`` that nothing accounts for, without those ``accepted`` (from, to before)."""
        starts, stops = [start for start, _ in accepted], [stop for _, stop in accepted]
        rows = self._rows(_MISSING, partition=partition, end=end, starts=starts, stops=stops)
        return [row["number"] for row in rows]

    def uncovered(self, partition: int, start: int, end: int) -> int:
        """How many offsets from ``start`` to before ``end`` nothing accounts for."""
        (row,) = self._rows(_COVERED, partition=partition, start=start, end=end)
        return end - start - int(row["covered"])

    def repeated(self) -> Iterator[Difference]:
        """Offsets with several rows in one table: their keys differ where they must not."""
        for partition, offsets in _by_partition(self._rows(_REPEATED)):
            yield from ranges("doubled", partition, offsets, "several rows in one table")

    def beyond(self, ends: Mapping[int, int]) -> dict[int, list[int]]:
        """By partition, the last offsets of rows at or behind ``ends``."""
        return dict(_by_partition(self._rows(_BEYOND, partitions=list(ends), ends=list(ends.values()))))

    def altered(self) -> Iterator[tuple[str, int, list[Difference]]]:
        """Per table: rows that changed since they were inserted, and the ingest coordinates of the first of them."""
        for view in CHECKED:
            computed = self._rows(_COMPUTED, table=f"{view}_rows")
            wrong = " OR ".join(f"{row['name']} != toUInt64({row['expression']})" for row in computed)
            condition = f"FROM {view}_rows FINAL WHERE ({wrong})"
            if view in SPACERS and (shown := SPACERS[view].shown):
                condition += f" AND {shown}"
            (count,) = self._values(f"SELECT count() {condition}")
            rows = self._rows(
                f"SELECT ingest_partition AS p, ingest_offset AS o {condition} ORDER BY p, o LIMIT {MOST}"
            )
            listed = [
                difference
                for partition, offsets in _by_partition(rows if count else [])
                for difference in ranges("altered", partition, offsets, view)
            ]
            yield view, count, listed

    def _rows(self, sql: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        found = self._client.query(sql, parameters=self._common | parameters)
        return (dict(zip(found.column_names, row, strict=True)) for row in found.result_rows)

    def _values(self, sql: str) -> list[Any]:
        return [row[0] for row in self._client.query(sql, parameters=self._common).result_rows]


def _by_partition(rows: Iterable[dict[str, Any]]) -> Iterator[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row["p"], []).append(row["o"])
    return iter(found.items())


def ranges(what: str, partition: int, offsets: Sequence[int], stage: str) -> Iterator[Difference]:
    """Differences for offsets, consecutive ones as one."""
    start = previous = None
    for offset in sorted(set(offsets)):
        if start is not None and previous is not None and offset != previous + 1:
            yield Difference(what, partition, start, previous, stage)
            start = offset
        start, previous = offset if start is None else start, offset
    if start is not None and previous is not None:
        yield Difference(what, partition, start, previous, stage)
