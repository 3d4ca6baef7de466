"""One batch through an agent, without input or output: what the runtime does around it is in ``hop``.

Drops what was applied or seen before, calls the agent's step for the rest, and gives the changes and the new marker.

Errors: Gap, TooManyLetters, UnknownSchema (learn it and try again), and what SYSTEM names; an error of the agent's own
stays with its record.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from native import Entry, TooLarge
from runtime.agent import Add, Agent, Emit, Reads, State
from runtime.changelog import Change, Marker
from runtime.letters import claim, dead_letter, said
from runtime.origin import source
from runtime.store import StateDamaged, StateFailed
from schemas.registry import UnknownSchema
from schemas.topics import DEAD_LETTERS

IN_A_ROW = "letters in a row"
"""Name of a fact about the partition: how many of its records have failed by now, without one between that did not. It
is kept, or a worker that is started again and again would make dead letters of them all, a handful at each start."""
SYSTEM = (StateDamaged, StateFailed, OSError, MemoryError)
"""What is never a record's fault."""
MOST = 1 << 20
"""More records than any batch has."""


class Gap(Exception):  # noqa: N818
    """Input is missing between what was applied and what came: a deleted log, or a fetch that must be made again."""

    def __init__(self, expected: int, found: int) -> None:
        super().__init__(f"expected offset {expected}, found {found}")
        self.expected, self.found = expected, found


class TooManyLetters(Exception):  # noqa: N818
    """So many records failed in a row that it is not them."""


@dataclass(slots=True)
class Result:
    """What a batch, or the part of it up to a record that failed, gives."""

    marker: Marker
    changes: dict[bytes, Change]
    read: int = 0
    """Records that were not applied before."""
    dropped: int = 0
    """Of those, repeats of what an upstream agent had sent before."""
    letters: int = 0


class Stepper:
    """An agent on one input partition."""

    def __init__(self, agent: Agent, partitions: dict[str, int], partition: int, limit: int) -> None:
        """``partitions`` of each output topic; after more than ``limit`` letters in a row it is not the records."""
        self.agent, self.partitions, self.partition, self._limit = agent, partitions, partition, limit
        self._most = MOST
        """Records tried together: one behind a record that failed, since the next often fails too, then twice as many
        each time. To find each of many among a whole batch would take ten attempts."""

    def run(
        self,
        records: list[Any],
        marker: Marker,
        reads: Reads,
        outputs: Callable[[], Add],
        *,
        objects: dict[bytes, Any],
        learnt: bool = True,
        dense: bool = True,
    ) -> Result:
        """Handles ``records``, or those before the first that fails, or that one alone.

        Call again with the rest while ``result.marker.applied`` is short of the last. ``outputs()`` gives a new place
        for the outputs; what was put into an earlier one is void. ``objects`` are the state's unpacked ones; clear them
        if the result is not committed. With ``learnt``, every published schema is known, so that a record whose schema
        is not is to blame for it. Offsets are ``dense`` but in records that stand for a part of the log that is lost.
        """
        system = SYSTEM if learnt else (*SYSTEM, UnknownSchema)
        if records[0].offset <= marker.applied:
            records = [record for record in records if record.offset > marker.applied]
        if len(records) > self._most:
            records = records[: self._most]
        while True:
            attempt = _Attempt(self, marker, reads, outputs(), objects, dense)
            try:
                result = attempt.run(records)
            except (*system, Gap):
                objects.clear()
                raise
            except Exception as error:
                objects.clear()  # the failed step may have changed some
                if len(records) > 1:
                    records = records[: attempt.handled or len(records) // 2]
                    continue
                in_a_row = self._count(records[0], marker, error)
                result = _Attempt(self, marker, reads, outputs(), objects, dense).letter(records[0], error)
                result.marker.meta[IN_A_ROW] = in_a_row
                self._most = 1
                return result
            self._most = min(self._most * 2, MOST)
            if result.read > result.dropped:
                result.marker.meta.pop(IN_A_ROW, None)
            return result

    def _count(self, record: Any, marker: Marker, error: Exception) -> int:
        """This failure, and those right before it. Raises TooManyLetters.

        What is too large is not counted: it can only be the record, or what it belongs to. A session or a bet that has
        grown too large would stop the worker, since every further event of it fails.
        """
        in_a_row: int = marker.meta.get(IN_A_ROW, 0)
        if isinstance(error, TooLarge):
            return in_a_row
        in_a_row += 1
        if in_a_row > self._limit:
            raise TooManyLetters(
                f"{in_a_row} records in a row failed in the agent {self.agent.name}; "
                f"{self.agent.source.name}-{self.partition}@{record.offset} with {said(error)}"
            ) from error
        return in_a_row


class _Attempt:
    """One pass over a batch."""

    def __init__(
        self, stepper: Stepper, before: Marker, reads: Reads, add: Add, objects: dict[bytes, Any], dense: bool
    ) -> None:
        self._agent, self._before, self._partition = stepper.agent, before, stepper.partition
        self._marks = dict(before.marks)
        meta = orjson.loads(orjson.dumps(before.meta))  # whole, so that a step that fails changes nothing of it
        self._state = State(reads, meta, stepper.partition, before.log, objects)
        self._state.offset, self._state.clock = before.applied, before.clock
        origin = source(stepper.agent.name, before.epoch, before.log, stepper.partition)
        self._emit = Emit(add, origin, stepper.partitions, before.epoch)
        # Nothing here may lead back to the attempt: with all that it holds it would be left to the collector.
        claimed = partial(claim, self._state, stage=stepper.agent.name)
        self._entry = Entry(self._state, self._emit, self._marks, claimed, _gap, dense)

        self.handled = 0
        """Where a step has failed, how many had succeeded before it."""

    def run(self, records: list[Any]) -> Result:
        try:
            self._entry.run(records, self._agent.step)
        except Exception:
            self.handled = self._entry.handled
            raise
        # What fails from here on is nobody's in particular.
        self._agent.close(self._state, self._emit)
        self._state.close()
        self._emit.close()
        orjson.dumps(self._state.meta)  # what is no JSON fails here, where it is its record's fault
        return self._result(len(records), self._entry.dropped, 0)

    def letter(self, record: Any, error: Exception) -> Result:
        """A dead letter in the record's place."""
        self._entry.enter(record)
        self._state.changes.clear()
        place = (self._agent.source.name, self._partition)
        letter_id, value = dead_letter(self._agent.name, record, self._before.log, error, place)
        self._emit.record(DEAD_LETTERS, letter_id, value)
        return self._result(1, 0, 1)

    def _result(self, read: int, dropped: int, letters: int) -> Result:
        marker = replace(
            self._before,
            applied=self._state.offset,
            before=self._before.applied,
            version=self._agent.version,
            clock=self._state.clock,
            marks=self._marks,
            meta=self._state.meta,
        )
        return Result(marker, self._state.changes, read, dropped, letters)


def _gap(expected: int, found: int) -> None:
    raise Gap(expected, found)
