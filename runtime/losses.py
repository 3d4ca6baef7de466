"""What a person accepted to lose of a log with --accept-loss (control.losses): the audit must be able to tell it.

A reader that finds a part of its log deleted says so here before it goes on behind it, so that no loss is stepped over
that nobody hears of. Said again, after a crash in between, it is the same record.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from aiokafka.errors import UnknownTopicOrPartitionError

from runtime.kafka import LogReader
from runtime.producer import Outbox, Outlet
from runtime.table import Table
from schemas.codec import DecodeError
from schemas.keys import key
from schemas.registry import LOSS
from schemas.topics import CONTROL_LOSSES

SINK = "sink"
"""The reader that is no agent."""


class NowhereToRecord(Exception):  # noqa: N818
    """The topic is missing: this release's topics were not made yet."""


@dataclass(frozen=True, order=True)
class Loss:
    """Offsets of a partition's log, ``start`` to before ``end``."""

    topic: str
    log: int
    partition: int
    start: int
    end: int
    reader: str
    """An agent, or SINK."""

    @property
    def place(self) -> str:
        """For people; the last offset inclusive, as everywhere in the audit."""
        offsets = str(self.start) if self.start == self.end - 1 else f"{self.start}-{self.end - 1}"
        return f"{self.topic}-{self.partition}@{offsets}"

    def line(self) -> str:
        """For people."""
        return f"accepted {self.place}  lost: deleted before {self.reader} had read it, which a person accepted"


async def none_accepted(*_: object) -> bool:
    """For readers of which nobody has accepted that they lose anything."""
    return False


class Acceptance:
    """The one loss that a person has accepted for this process, if any."""

    def __init__(self, offsets: tuple[int, int] | None, outlet: Outlet, kafka: LogReader) -> None:
        self._offsets, self._outlet, self._kafka = offsets, outlet, kafka

    async def covers(self, reader: str, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether the reader may go on behind exactly these offsets; that it does is recorded by then.

        Raises NowhereToRecord; KafkaError, SendFailed: try again.
        """
        if self._offsets != (start, end):
            return False
        try:
            # The topic of losses is asked for as well: a send to one that is missing would wait, and fail for all.
            logs = await self._kafka.logs([topic, CONTROL_LOSSES.name])
        except UnknownTopicOrPartitionError as error:
            raise NowhereToRecord(
                f"Kafka has no topic {CONTROL_LOSSES.name}, where an accepted loss is recorded: run `sluice topics`"
            ) from error
        await _publish(self._outlet, Loss(topic, logs[topic].number, partition, start, end, reader))
        return True


async def _publish(outlet: Outlet, loss: Loss) -> None:
    name = key(loss.reader, loss.topic, loss.log, loss.partition, loss.start, loss.end).encode()
    now = int(time.time() * 1000)
    value = LOSS.encode(
        {"reader": loss.reader, "topic": loss.topic, "log": loss.log, "partition": loss.partition}
        | {"from": loss.start, "to": loss.end, "accepted_at": now}
    )
    box = Outbox(outlet, await outlet.producer())
    box.add(CONTROL_LOSSES.name, 0, name, value, [], now)
    await box.deliver()


class Losses:
    """The losses, followed from ``start`` on; none where nothing could be recorded yet, as the topic is missing."""

    def __init__(self, bootstrap: str) -> None:
        self._found: set[Loss] = set()
        self._table = Table(bootstrap, CONTROL_LOSSES.name, self._apply)
        self._follows = False

    async def start(self, kafka: LogReader) -> None:
        """Begins to follow. Raises KafkaError."""
        try:
            await kafka.logs([CONTROL_LOSSES.name])
        except UnknownTopicOrPartitionError:
            return
        self._table.start()
        self._follows = True

    async def read(self, within: float) -> list[Loss]:
        """All that are recorded by now, in order. Raises TableError after ``within`` seconds."""
        if self._follows:
            await self._table.refresh(within)
        return sorted(self._found)

    async def stop(self) -> None:
        """Ends the following."""
        await self._table.stop()

    def _apply(self, _: bytes, value: bytes | None, offset: int) -> None:
        if value is None:
            return
        try:
            found = LOSS.decode(value)
        except DecodeError:
            return  # a newer release's; its audit knows what to do with it
        places = (found["partition"], found["from"], found["to"])
        self._found.add(Loss(found["topic"], found["log"], *places, found["reader"]))


def spans(losses: Iterable[Loss]) -> dict[int, list[tuple[int, int]]]:
    """By partition, the offsets of losses of one log, from and to before: in order, none twice."""
    found: dict[int, list[tuple[int, int]]] = {}
    for loss in sorted(losses, key=lambda loss: (loss.partition, loss.start)):
        known = found.setdefault(loss.partition, [])
        if known and loss.start <= known[-1][1]:
            known[-1] = (known[-1][0], max(known[-1][1], loss.end))
        else:
            known.append((loss.start, loss.end))
    return found
