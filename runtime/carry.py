"""Keeps the changelog of state that does not age in proportion to the live state, without compaction (design.md).

The owner reads its changelog's tail, a piece at a time, and appends what is still live in it to a group of its own;
once that is acknowledged, the piece is deleted. Every entry's newest value is so always in the log, and recovery, which
reads it whole, takes no longer than the live state is large.

If the owner dies in between, the piece is carried again: the same values, once more. If it is no longer the owner, its
group is stale and recovery passes over it; so nothing is deleted unless the group came right behind what it had read.
"""

from runtime.changelog import CARRIED, DELETE, Change, Group, Reader
from runtime.kafka import Logs
from runtime.partition import PartitionState
from runtime.producer import Outlet
from runtime.store import offset_of

SPARE = 100_000
"""Changes beyond the live ones that a changelog may hold whatever its size."""
FACTOR = 3
"""How many times the live entries it may hold."""
PIECE = 8
"""Records of the tail that are carried at once; each has up to half a megabyte."""


class Carrier:
    """One partition's carrying; ``advance`` between batches."""

    def __init__(self, state: PartitionState) -> None:
        self._state = state
        self._tail: int | None = None
        """``marker.total`` at the log's first group; None: not read yet."""

    def due(self) -> bool:
        """Whether the log may have grown out of proportion; True until its tail is known."""
        state = self._state
        if state.store is None or state.marker.total <= SPARE:
            return False
        if self._tail is None:
            return True
        return state.marker.total - self._tail > FACTOR * state.store.size() + SPARE

    async def advance(self, outlet: Outlet, kafka: Logs) -> None:
        """Carries and deletes a piece of the tail. Raises as PartitionState.commit does."""
        state, topic = self._state, self._state.changelog
        begin, end = await kafka.bounds(topic, state.partition)
        groups, after = await self._piece(kafka, begin, min(end, begin + PIECE))
        if not groups:
            return
        self._tail = groups[0].marker.total
        if not self.due():
            return
        before = state.position
        parts = await state.carry(self._live(groups), outlet, kafka)
        if state.position == before + parts:  # ours came right behind all that we know: nobody else writes
            await kafka.delete(topic, state.partition, after)
            self._tail = groups[-1].marker.total

    async def _piece(self, kafka: Logs, begin: int, end: int) -> tuple[list[Group], int]:
        """Complete groups at the log's start, and the offset behind the last where no group is open."""
        reader, groups, found, after = Reader(), [], 0, begin
        async for offset, value in kafka.read(self._state.changelog, self._state.partition, begin, end):
            group = reader.add(value)
            if group is not None:
                groups.append(group)
            if not reader.pending and groups:
                found, after = len(groups), offset + 1
        return groups[:found], after

    def _live(self, groups: list[Group]) -> list[Change]:
        """What stands in these groups and has not been changed since."""
        store = self._state.store
        assert store is not None
        live: dict[bytes, Change] = {}
        for group in groups:
            for kind, key, value, offset in group.changes():
                stored = store.get(key) if kind != DELETE else None
                if stored is not None and offset_of(stored) == offset:
                    live[key] = (CARRIED, key, value, offset)
        return list(live.values())
