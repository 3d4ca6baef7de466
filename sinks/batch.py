"""A batch of records into ClickHouse: insert, and what to bury. Runs in a thread; knows nothing of Kafka.

Records go as the Avro that they are (sinks.avro) wherever that can be, which is nearly always. They are decoded here,
and sent by the column, where one of them is not to be stored as it is (it is of another schema version, of a person who
is forgotten, has JSON that must be mended), or ClickHouse refused the batch: so is found which record it was, and why.
Both ways give the same rows (tests/integration/test_passage.py).

Errors: Stop, UnknownSchema (learn it and try again), and what sinks.errors classifies as Outcome.RETRY.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from clickhouse_connect.driver.exceptions import DatabaseError

from runtime.origin import OriginError
from schemas.codec import DecodeError
from schemas.registry import UnknownSchema
from sinks.avro import new_mark
from sinks.feed import Feed, addressed
from sinks.table import Block, Stored
from sinks.writer import BadRow, Writer

log = logging.getLogger("sluice.sink")

WARY = 10
"""So many batches are decoded behind one that was refused: some senders' JSON has to be mended in every batch, and a
try that is refused costs half as much as storing it does."""
CHUNK = 500
"""Records decoded at once: few enough that their values are still in the cache when they are turned into columns."""


def store(
    feed: Feed, records: Sequence[Any], writer: Writer, learnt: bool, decoded: bool = False
) -> tuple[list[Stored], list[BadRow]]:
    """Inserts the rows of ``records``: returns what was inserted, and the records that became no row.

    With ``learnt``, every published schema is known, so that a record whose schema is not is to blame for it. With
    ``decoded``, records are not tried as they are, since ClickHouse was lost at it.
    """
    records = addressed(records, [table.stage for table in feed.tables])
    passed = None if decoded else _pass(feed, records, writer)
    if passed is not None:
        return passed, []
    blocks, bad = decode(feed, records, learnt)
    for block in blocks:
        bad += writer.insert(block)
    received = [feed.received(block.causes) for block in blocks]
    return [Stored(block.table.view, block.rows, times) for block, times in zip(blocks, received, strict=True)], bad


def _pass(feed: Feed, records: Sequence[Any], writer: Writer) -> list[Stored] | None:
    """Inserts records as they are; None where they must be decoded. Raises what sinks.errors takes for no answer."""
    if feed.wary:
        feed.wary -= 1
        return None
    try:
        values = feed.passed(records)
        if feed.passage is None or values is None:
            return None
        received = feed.received(records)
    except (DecodeError, OriginError):
        return None
    mark = new_mark()
    body = feed.passage.body(values, mark)
    try:
        rows = [writer.pass_on(table, feed.passage.statement(table, mark), body) for table in feed.tables]
    except DatabaseError as error:
        if not error.code:
            raise
        feed.wary = WARY
        log.info("decodes batches", extra={"topic": feed.topic.name, "code": error.code})
        return None
    return [Stored(table.view, count, received) for table, count in zip(feed.tables, rows, strict=True)]


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
