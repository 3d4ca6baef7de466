"""The consumer of plain agents: hands over every record at least once, which the stock one does not quite.

What Faust (0.12) does at the end of a rebalance, in faust/tables/recovery.py ``on_recovery_completed``: it fetches the
streams' partitions again, then seeks to what the group committed, then empties the streams' queues. What is fetched
between these steps comes into queues that are emptied, and no seek is behind it. Nor does it seek at all where the
group has committed nothing. Of a record that comes out of turn it takes what is before it for a gap in the log, and a
gap for handled (``_add_gap``); and it commits past one record that is not (``_new_offset``). So records could be
committed that no agent saw.

Here a partition's next offset is known from each seek on: an earlier record is passed over, at a later one the
partition is fetched again from the one that is due, and only a gap that is still there then is one. Nothing is handed
over between the seek and the flow's beginning. What is committed is the longest run, from the first, of records that
were handed over and handled.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

log = logging.getLogger("sluice.plain")


class RedeliveringConsumer(driver.Consumer):
    """The stock consumer, that loses nothing on the way from Kafka to an agent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._due: dict[TP, int] = {}
        """The record that is to be handed over next. A partition that is not here is not ready."""
        self._given: dict[TP, deque[int]] = {}
        """What was handed over and is not committed, in order."""
        self._again: set[TP] = set()
        """To be fetched again from what is due."""
        self._gaps: dict[TP, int] = {}
        """The record that came instead of the one that is due."""
        self._sought = False
        """Between a seek and the beginning of the flow, when Faust empties its queues."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        for tp in revoked:
            self._due.pop(tp, None)
            self._again.discard(tp)
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        self._sought = True
        await super().perform_seek()
        streams = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
        begin = {tp: self._committed_offset[tp] for tp in streams}
        new = [tp for tp, offset in begin.items() if not offset]
        if new:  # Faust stays where it is in these
            earliest = await self.earliest_offsets(*new)
            begin |= {tp: earliest[tp] for tp in new}
        for tp, offset in begin.items():
            self._due[tp], self._given[tp] = offset, deque()
            self._acked_index[tp].clear()
            self._gaps.pop(tp, None)
        # All of them: two seeks may overlap, and what was handed over between them is forgotten here.
        self._again |= begin.keys()

    def resume_flow(self) -> None:
        self._sought = False
        super().resume_flow()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's
        if self._again and not self._sought:
            await self._fetch_again()
        async for tp, message in super().getmany(timeout):
            if self._is_changelog_tp(tp) or self._is_next(tp, message.offset):
                self._read_offset[tp] = message.offset  # Faust shall neither pass over it nor see a gap
                yield tp, message

    def _is_next(self, tp: TP, offset: int) -> bool:
        due = self._due.get(tp)
        if self._sought:
            self._again.add(tp)
            return False
        if due is None or offset < due or tp in self._again:
            return False
        if offset > due and self._gaps.get(tp) != offset:
            self._gaps[tp] = offset
            self._again.add(tp)
            return False
        self._due[tp] = offset + 1
        self._given[tp].append(offset)
        return True

    async def _fetch_again(self) -> None:
        wanted = {tp: self._due[tp] for tp in self._again if tp in self._due}
        if not wanted:
            return
        try:
            await self.seek_wait(wanted)
        except (IllegalStateError, KafkaError, TimeoutError) as error:
            log.warning("records are to be fetched again, which is tried again", extra={"reason": repr(error)})
        else:
            self._again -= wanted.keys()
            for tp, offset in wanted.items():
                log.info("records are fetched again", extra={"partition": str(tp), "offset": offset})

    def _new_offset(self, tp: TP) -> int | None:
        self._acked[tp].clear()  # Faust looks only at partitions that are listed there; the index has all of it
        given, handled = self._given.get(tp), self._acked_index[tp]
        offset = None
        while given and given[0] in handled:
            offset = given.popleft()
            handled.discard(offset)
        return None if offset is None else offset + 1
