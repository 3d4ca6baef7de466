"""The outlet's promises (design.md, rule 3.3): batches of one target in order, and no producer outlives its failure."""

import asyncio
from typing import Any, ClassVar

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, RequestTimedOutError

from runtime import producer as module
from runtime.producer import Outbox, Outlet, SendFailed


class Metadata:
    def __init__(self, offset: int) -> None:
        self.offset = offset


class Ended:
    """aiokafka's client within a producer."""

    _md_update_fut = None

    async def close(self) -> None: ...


class Producer:
    """aiokafka's, as far as the outlet uses it; its sends are answered by the test."""

    made: ClassVar[list["Producer"]] = []

    def __init__(self, **_: Any) -> None:
        self.sent: list[tuple[str, int, asyncio.Future[Metadata]]] = []
        self.stopped = False
        self.client, self._message_accumulator = Ended(), self
        Producer.made.append(self)

    async def start(self) -> None: ...

    async def stop(self) -> None:
        self.stopped = True

    def fail_all(self, error: Exception) -> None:
        for _, _, future in self.sent:
            if not future.done():
                future.set_exception(error)

    async def send_batch(self, batch: Any, topic: str, partition: int) -> asyncio.Future[Metadata]:
        self.sent.append((topic, partition, asyncio.get_running_loop().create_future()))
        return self.sent[-1][2]


class Batch(list[Any]):
    """Holds one record."""

    def add(self, *record: Any) -> bool:
        if self:
            return False
        self.append(record)
        return True


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    Producer.made = []
    monkeypatch.setattr(module, "AIOKafkaProducer", Producer)
    monkeypatch.setattr(module, "Batch", Batch)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def outbox_of(outlet: Outlet, producer: Any, *targets: tuple[str, int]) -> Outbox:
    outbox = Outbox(outlet, producer)
    for topic, partition in targets:
        outbox.add(topic, partition, b"k", b"v", [], 0)
    return outbox


def test_a_batch_waits_for_the_one_before_it_towards_the_same_partition() -> None:
    async def run() -> None:
        outlet = Outlet("nowhere", 1)
        made: Any = await outlet.producer()
        outbox = outbox_of(outlet, made, ("t", 0), ("t", 0), ("t", 1))
        delivering = asyncio.create_task(outbox.deliver())
        await settled()
        assert [target[:2] for target in made.sent] == [("t", 0), ("t", 1)]
        made.sent[0][2].set_result(Metadata(7))
        await settled()
        assert [target[:2] for target in made.sent] == [("t", 0), ("t", 1), ("t", 0)]
        assert not delivering.done()
        made.sent[1][2].set_result(Metadata(1))
        made.sent[2][2].set_result(Metadata(8))
        assert await delivering == {("t", 0): [7, 8], ("t", 1): [1]}

    asyncio.run(run())


@pytest.mark.parametrize("error", [RequestTimedOutError(), KafkaError("any"), RuntimeError("unforeseen")])
def test_a_failed_send_ends_the_producer_for_everybody(error: Exception) -> None:
    async def run() -> None:
        outlet = Outlet("nowhere", 1)
        made: Any = await outlet.producer()
        first = asyncio.create_task(outbox_of(outlet, made, ("t", 0), ("t", 0)).deliver())
        await settled()
        made.sent[0][2].set_exception(error)
        with pytest.raises(SendFailed):
            await first
        assert len(made.sent) == 1, "the batch behind the failed one went out"
        with pytest.raises(SendFailed):
            await outbox_of(outlet, made, ("t", 3)).deliver()
        assert len(made.sent) == 1
        await settled()
        assert made.stopped
        assert await outlet.producer() is not made
        await outlet.stop()

    asyncio.run(run())


def test_what_waits_for_another_batch_of_a_failed_producer_is_told_too() -> None:
    """aiokafka forgets the batches that it has not sent when it is stopped: their lanes would wait for ever."""

    async def run() -> None:
        outlet = Outlet("nowhere", 1)
        made: Any = await outlet.producer()
        other = asyncio.create_task(outbox_of(outlet, made, ("t", 1)).deliver())
        first = asyncio.create_task(outbox_of(outlet, made, ("t", 0)).deliver())
        await settled()
        made.sent[1][2].set_exception(RequestTimedOutError())
        for waiting in (first, other):
            with pytest.raises(SendFailed):
                await asyncio.wait_for(waiting, 60)
        await outlet.stop()

    asyncio.run(run())


@pytest.mark.parametrize("silence", [0.2, 0.0])
def test_what_waits_for_a_topics_metadata_is_told_too(monkeypatch: pytest.MonkeyPatch, silence: float) -> None:
    """A closed client of aiokafka's gets no metadata any more, and does not say so to who waits for it."""
    monkeypatch.setattr(module, "AIOKafkaProducer", AIOKafkaProducer)

    async def silent(*_: Any) -> bool:
        await asyncio.sleep(silence)
        return False

    async def run() -> None:
        outlet = Outlet("127.0.0.1:1", 1)
        made = outlet._producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1", request_timeout_ms=1000)
        monkeypatch.setattr(made.client, "_metadata_update", silent)
        made.client._sync_task = asyncio.create_task(made.client._md_synchronizer())  # as start() does
        batch = made.create_batch()
        batch.append(key=None, value=b"v", timestamp=1)
        waiting = asyncio.create_task(outlet.send(made, "t", 0, batch))
        await asyncio.sleep(0.1)
        outlet._drop(made, RequestTimedOutError())
        with pytest.raises(SendFailed):
            await asyncio.wait_for(waiting, 60)
        await outlet.stop()

    asyncio.run(run())
