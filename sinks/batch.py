"""A batch of records into ClickHouse: decode, insert, and what to bury. Runs in a thread; knows nothing of Kafka.

Errors: Stop, UnknownSchema (learn it and try again), and what sinks.errors classifies as Outcome.RETRY.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.origin import OriginError
from schemas.codec import DecodeError
from schemas.registry import UnknownSchema
from sinks.feed import Feed, addressed
from sinks.table import Block
from sinks.writer import BadRow, Writer

CHUNK = 500
"""Records decoded at once: few enough that their values are still in the cache when they are turned into columns."""


def store(feed: Feed, records: Sequence[Any], writer: Writer, learnt: bool) -> tuple[list[Block], list[BadRow]]:
    """Inserts the rows of ``records``: returns what was inserted, and the records that became no row.

    With ``learnt``, every published schema is known, so that a record whose schema is not is to blame for it.
    """
    blocks, bad = decode(feed, addressed(records, [table.stage for table in feed.tables]), learnt)
    for block in blocks:
        bad += writer.insert(block)
    return blocks, bad


def decode(feed: Feed, records: Sequence[Any], learnt: bool) -> tuple[list[Block], list[BadRow]]:
    """The rows of ``records``, a block per table, and the records that are no rows."""
    blocks = [Block(table) for table in feed.tables]
    bad: list[BadRow] = []
    for start in range(0, len(records), CHUNK):
        chunk = records[start : start + CHUNK]
        try:
            _extend(blocks, feed, chunk)
        except (DecodeError, OriginError, ValueError) as error:
            _refuse_unlearnt(error, learnt)
            for record, fault in _one_by_one(blocks, feed, chunk):
                _refuse_unlearnt(fault, learnt)
                bad.append(BadRow(feed.tables[0], record, fault))
    return blocks, bad


def _extend(blocks: list[Block], feed: Feed, records: Sequence[Any]) -> None:
    for block, (columns, causes) in zip(blocks, feed.rows(records), strict=True):
        block.extend(columns, causes)


def _one_by_one(blocks: list[Block], feed: Feed, records: Sequence[Any]) -> Iterator[tuple[Any, Exception]]:
    for record in records:
        try:
            _extend(blocks, feed, [record])
        except (DecodeError, OriginError, ValueError) as error:
            yield record, error


def _refuse_unlearnt(error: Exception, learnt: bool) -> None:
    if isinstance(error, UnknownSchema) and not learnt:
        raise error
