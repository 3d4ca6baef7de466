"""Which epoch of each agent counts: the highest that is complete for every partition of its input (control.epochs).

A rebuild runs beside the workers, under the next epoch and with a changelog of its own. Once it has caught up it says
so here, partition by partition; with the last one the warehouse's views turn to the new rows, and the workers to the
new state.
"""

import time
from collections.abc import Callable

from aiokafka import AIOKafkaProducer

from runtime.table import Table
from schemas.codec import DecodeError
from schemas.keys import key
from schemas.registry import EPOCH
from schemas.topics import CONTROL_EPOCHS


class Epochs:
    """The epochs, followed. ``changed`` is told of an agent whose epoch has moved on."""

    def __init__(self, bootstrap: str, changed: Callable[[str], None] = lambda _: None) -> None:
        self._changed = changed
        self._complete: dict[tuple[str, int], set[int]] = {}
        self._current: dict[str, int] = {}
        self.table = Table(bootstrap, CONTROL_EPOCHS.name, self._apply)

    def current(self, agent: str) -> int:
        """The epoch that counts; 0 if the agent was never rebuilt."""
        return self._current.get(agent, 0)

    def highest(self, agent: str) -> int:
        """The highest epoch that was ever begun to be completed."""
        return max((epoch for name, epoch in self._complete if name == agent), default=0)

    def _apply(self, _: bytes, value: bytes | None, offset: int) -> None:
        if value is None:
            return
        try:
            found = EPOCH.decode(value)
        except DecodeError:
            return  # a newer release's; its workers know what to do with it
        agent, epoch = found["agent"], found["epoch"]
        partitions = self._complete.setdefault((agent, epoch), set())
        partitions.add(found["partition"])
        if len(partitions) >= found["partitions"] and epoch > self.current(agent):
            self._current[agent] = epoch
            self._changed(agent)


async def complete(producer: AIOKafkaProducer, agent: str, epoch: int, partitions: int) -> None:
    """Says that an agent's rebuild is complete; its rows must be in ClickHouse by then. Raises KafkaError."""
    for partition in range(partitions):
        record = {"agent": agent, "epoch": epoch, "partition": partition, "partitions": partitions}
        record["completed_at"] = int(time.time() * 1000)
        name = key(agent, epoch, partition).encode()
        await producer.send_and_wait(CONTROL_EPOCHS.name, EPOCH.encode(record), key=name, partition=0)
