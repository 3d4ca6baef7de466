"""One input partition of an agent: its marker, its store, and the changelog that is the truth behind both.

Recovery reads every complete group from the stored position on. In log order, a change counts if its input offset is
beyond what was applied so far: so a paused worker's older groups, which hold nothing that a newer one has not taken in,
lose, whatever their place in the log (design.md, rule 3.4). The position moves only over what was read, or was appended
without a gap; where another writer's records came between, everything is read in order, ours included.

Errors: SendFailed, ChangelogError, StateInUse, StateDamaged, KafkaError.
"""

import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from runtime.agent import NEVER, Agent
from runtime.changelog import CARRIED, Change, ChangelogError, Group, Marker, Reader, encode
from runtime.kafka import Log, Logs
from runtime.producer import Outbox, Outlet
from runtime.store import OFFSET, RESERVED, Caches, StateDamaged, Store

log = logging.getLogger(__name__)

ROUND = 600_000
"""Milliseconds of stream time, at least, between two rounds of looking for what has expired."""
PACE = 2
"""Entries looked at for each record read: fewer, and what has expired would outnumber what has not."""
OBJECTS = 4096
"""Unpacked values kept between batches, per agent and partition."""


@dataclass(frozen=True)
class Place:
    """Where a partition's state is kept."""

    folder: Path
    changelog: Log
    caches: Caches
    stores: type[Store] = Store


class PartitionState:
    """Open it, then for each batch ``commit`` what a Stepper made of it."""

    def __init__(self, agent: Agent, partition: int, place: Place, epoch: int = 0) -> None:
        self.agent, self.partition, self.epoch = agent, partition, epoch
        self._place = place
        self._writer, self._groups = uuid4().bytes, 0
        self.store: Store | None = None
        self.marker = Marker()
        self.position = 0
        """Offset in the changelog up to which the store knows it."""
        self.objects: dict[bytes, Any] = {}
        """Unpacked values that agents keep between batches; none is trusted that a commit has not followed."""
        self._reader = Reader()
        self._from_start = False
        self._sweep_from, self._rested = b"", 0
        self._oldest = self._unswept = NEVER
        """Time of the oldest entry that the last round left, and that the one under way has left so far."""

    async def open(self, kafka: Logs, input_log: int, rebuild: bool = False) -> Marker:
        """Brings the state up to the changelog's end and returns how far the input is applied.

        With ``rebuild``, a changelog that was made anew is no error: what the store has from before it is dropped.
        """
        self.objects.clear()
        if self.store is None:
            self._open_store(rebuild)
        try:
            await self._catch_up(kafka)
        except (ChangelogError, StateDamaged) as error:
            log.warning("state of %s-%d is rebuilt: %s", self.agent.name, self.partition, error)
            self.drop()
        if self.store is None:
            self._open_store()
            await self._catch_up(kafka)
        self._check_version()
        if self.marker.log != input_log:
            self.marker = Marker(log=input_log, epoch=self.epoch, clock=self.marker.clock, meta=self.marker.meta)
        return self.marker

    def _open_store(self, rebuild: bool = False) -> None:
        place, found = self._place, None
        try:
            self.store = place.stores(place.folder, place.caches)
            found = self.store.meta()
        except StateDamaged as error:
            log.warning("dropped: %s", error)
            self.drop()
        if self.store is None:  # not above: what the error holds of RocksDB must have let go of the folder
            self.store = place.stores(place.folder, place.caches)
        if found is not None and found[2] != place.changelog.number and rebuild:
            self.drop()
            self.store, found = place.stores(place.folder, place.caches), None
        if found is not None and found[2] != place.changelog.number:
            raise ChangelogError(
                f"{place.changelog.topic} was made anew, but {place.folder} holds state from before: "
                f"run `sluice worker --rebuild {self.agent.name}` to compute it from the log again"
            )
        self.marker, self.position = (found[0], found[1]) if found else (Marker(epoch=self.epoch), 0)
        self._reader, self._from_start = Reader(), found is None

    def drop(self) -> None:
        """Removes the store; the changelog has everything."""
        if self.store is not None:
            self.store.close()
        self.store = None
        self._place.stores.drop(self._place.folder)

    def close(self) -> None:
        """Releases the store."""
        if self.store is not None:
            self.store.close()
            self.store = None

    async def _catch_up(self, kafka: Logs) -> None:
        changelog = self._place.changelog
        begin, end = await kafka.bounds(changelog.topic, self.partition)
        if self.position > end:
            raise ChangelogError(f"the store knows {changelog.topic} up to {self.position}, but it ends at {end}")
        self.position = max(self.position, begin)  # if what lay between matters, the next group does not follow
        async for offset, value in kafka.read(changelog.topic, self.partition, self.position, end):
            group = self._reader.add(value)
            self.position = offset + 1
            if group is not None:
                self._apply(group, truncated=begin > 0)
        self.position = max(self.position, end)
        self._from_start = False

    def _apply(self, group: Group, truncated: bool) -> None:
        theirs = group.marker
        if theirs.log != self.marker.log:
            applied = -1
        else:
            applied = self.marker.applied
            if theirs.before > applied:
                self._jump(theirs, truncated)
                applied = theirs.before
        stale = theirs.applied < applied
        carried, found = not stale, group.changes()
        changes = [change for change in found if (carried if change[0] == CARRIED else change[3] > applied)]
        if not stale:
            self.marker = theirs
        self._write(changes)

    def _jump(self, theirs: Marker, truncated: bool) -> None:
        """A group that does not follow what was read: fine only where the log's head was deleted."""
        if not (truncated and self._from_start):
            raise ChangelogError(
                f"{self._place.changelog.topic}-{self.partition} jumps from {self.marker.applied} to {theirs.before}"
            )
        # What was read so far are groups that a paused worker appended late; the live state comes behind them.
        self.drop()
        self.store = self._place.stores(self._place.folder, self._place.caches)

    def _write(self, changes: Iterable[Change]) -> None:
        assert self.store is not None
        self.store.write(changes, self.marker, self.position, self._place.changelog.number)

    @property
    def changelog(self) -> str:
        """Name of the changelog topic."""
        return self._place.changelog.topic

    async def carry(self, changes: list[Change], outlet: Outlet, kafka: Logs) -> int:
        """Appends values that are known already; returns the records it took. Raises as ``commit``."""
        marker = replace(self.marker, before=self.marker.applied, written=int(time.time() * 1000))
        return await self.commit(changes, marker, outlet, kafka)

    async def commit(self, changes: Collection[Change], marker: Marker, outlet: Outlet, kafka: Logs) -> int:
        """Appends changes and marker to the changelog, then writes them to the store (rules 3.4 and 3.5).

        Returns the records it took.
        """
        self._groups += 1
        marker.total = self.marker.total + len(changes)
        parts = encode(changes, marker, self._writer, self._groups)
        outbox = Outbox(outlet, await outlet.producer())
        topic = self._place.changelog.topic
        for part in parts:
            outbox.add(topic, self.partition, None, part, [], marker.written)
        offsets = (await outbox.deliver())[topic, self.partition]
        if len(offsets) == 1 and offsets[0] == self.position:
            self.marker, self.position = marker, self.position + len(parts)
            self._write(changes)
        else:
            self.objects.clear()
            try:
                await self._catch_up(kafka)
            except ChangelogError as error:  # paused for so long that the log's head was deleted
                raise StateDamaged(str(error)) from error
        for key in list(islice(self.objects, max(0, len(self.objects) - OBJECTS))):
            del self.objects[key]
        return len(parts)

    def tend(self, read: int, sweep: bool = True) -> None:
        """What the store needs now and then, a little at a time: for so many records ``read``."""
        assert self.store is not None
        self.store.learn(PACE * read)
        if sweep:
            self.sweep(read)

    def sweep(self, read: int) -> None:
        """Looks at the next few entries, for so many records ``read``, and removes those that have expired.

        A round over all of them begins once the horizon is past the oldest that the last one saw, and stream time is
        ``ROUND`` past its end.
        """
        assert self.store is not None
        ageing, clock = self.agent.ageing, self.marker.clock
        if ageing is None:
            return
        horizon, time_of = ageing.horizon(self.marker), ageing.time
        if not self._sweep_from:
            if horizon <= self._oldest or clock < self._rested:
                return
            self._unswept = clock  # what is put from now on may be behind the round: it is about as old as this
        oldest, gone = self._unswept, []
        found = self.store.entries(self._sweep_from, PACE * read)
        for key, value in found:
            if key.startswith(RESERVED):
                continue
            time = time_of(key, value[OFFSET:])
            if time < horizon:
                gone.append(key)
            elif time < oldest:
                oldest = time
        self._unswept = oldest
        if len(found) == PACE * read:
            self._sweep_from = found[-1][0] + b"\x00"
        else:
            self._sweep_from, self._rested, self._oldest = b"", clock + ROUND, oldest
        if gone:
            self.store.forget(gone)

    def _check_version(self) -> None:
        if self.marker.version not in (0, self.agent.version):
            raise ChangelogError(
                f"the state of {self.agent.name} was written by version {self.marker.version} of its logic, this is "
                f"{self.agent.version}: with no worker running (`sluice up --workers 0`), run `sluice replay "
                f"{self.agent.name}`, then start the workers"
            )
