"""A batch is sent again, to the byte, until its leader has it or refuses it for good; one of a partition at a time."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    DuplicateSequenceNumber,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    OutOfOrderSequenceNumber,
)
from aiokafka.record.default_records import DefaultRecordBatch

from gateway import delivery
from gateway.budget import Budget
from gateway.delivery import Batch, deliver
from gateway.producer import Producer

ONE, TWO = TopicPartition("t", 0), TopicPartition("t", 1)
Answer = Mapping[TopicPartition, int] | Exception


class Answered:
    """A produce response."""

    def __init__(self, codes: Mapping[TopicPartition, int]) -> None:
        self.topics = [(place.topic, [(place.partition, code, 0, -1, 0)]) for place, code in codes.items()]


class Client:
    """aiokafka's client, as far as a delivery uses it: it answers from a list, and leaders move as the test says."""

    def __init__(self, *answers: Answer, leaders: Mapping[TopicPartition, int | None] | None = None) -> None:
        self.answers = list(answers)
        self.leaders: dict[TopicPartition, int | None] = dict(leaders or {ONE: 1, TWO: 1})
        self.asked: list[tuple[int, dict[TopicPartition, bytes]]] = []
        self.cluster, self.updates = self, 0
        self.moves: Callable[[], None] = lambda: None

    def leader_for_partition(self, place: TopicPartition) -> int | None:
        return self.leaders[place]

    async def force_metadata_update(self) -> None:
        self.updates += 1
        self.moves()

    async def send(self, leader: int, request: Any) -> Answered:
        batches = {TopicPartition(topic, number): data for topic, parts in request._topics for number, data in parts}
        self.asked.append((leader, batches))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answered(answer)


class State:
    """Of an idempotent producer."""

    producer_id, producer_epoch = 7, 0

    def __init__(self) -> None:
        self.sequences: dict[TopicPartition, int] = {}

    def sequence_number(self, place: TopicPartition) -> int:
        return self.sequences.get(place, 0)

    def increment_sequence_number(self, place: TopicPartition, count: int) -> None:
        self.sequences[place] = self.sequence_number(place) + count


class Kafka:
    """aiokafka's producer."""

    def __init__(self, client: Client | None = None) -> None:
        self.client, self._txn_manager = client, State()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "RETRY", 0)


async def turns() -> None:
    """Lets everybody go on who can."""
    for _ in range(20):
        await asyncio.sleep(0)


def settled(
    client: Client, in_use: Callable[[], bool] = lambda: True
) -> list[tuple[TopicPartition, type[BaseException] | None]]:
    """What became of a batch for each of two partitions."""
    found: list[tuple[TopicPartition, type[BaseException] | None]] = []

    def settle(place: TopicPartition, error: BaseException | None) -> None:
        found.append((place, None if error is None else type(error)))

    asyncio.run(deliver(Kafka(client), {ONE: b"one", TWO: b"two"}, 1, in_use, settle))
    return found


def test_one_request_settles_all() -> None:
    client = Client({ONE: 0, TWO: 0})
    assert settled(client) == [(ONE, None), (TWO, None)]
    assert client.asked == [(1, {ONE: b"one", TWO: b"two"})]
    assert client.updates == 0


def test_what_was_not_taken_is_sent_again_to_the_byte_and_the_new_leader() -> None:
    client = Client({ONE: 0, TWO: NotLeaderForPartitionError.errno}, {TWO: 0})
    client.moves = lambda: client.leaders.update({TWO: 2})
    assert settled(client) == [(ONE, None), (TWO, None)]
    assert client.asked[1] == (2, {TWO: b"two"})


def test_a_batch_that_had_arrived_is_stored() -> None:
    client = Client(KafkaConnectionError("gone"), {ONE: DuplicateSequenceNumber.errno, TWO: 0})
    assert settled(client) == [(ONE, None), (TWO, None)]
    assert client.asked[0] == client.asked[1]


@pytest.mark.parametrize("error", [MessageSizeTooLargeError, OutOfOrderSequenceNumber])
def test_what_is_refused_for_good_is_told_at_once(error: type[Any]) -> None:
    client = Client({ONE: error.errno, TWO: 0})
    assert settled(client) == [(ONE, error), (TWO, None)]
    assert len(client.asked) == 1


def test_an_error_that_nobody_foresaw_is_told_and_not_repeated() -> None:
    assert settled(Client(RuntimeError("unforeseen"))) == [(ONE, RuntimeError), (TWO, RuntimeError)]


def test_a_partition_that_the_answer_leaves_out_has_failed() -> None:
    assert settled(Client({ONE: 0})) == [(ONE, None), (TWO, KafkaError)]


def test_a_partition_without_a_leader_waits_for_one() -> None:
    client = Client({ONE: 0}, {TWO: 0}, leaders={ONE: 1, TWO: None})
    client.moves = lambda: client.leaders.update({TWO: 3})
    assert settled(client) == [(ONE, None), (TWO, None)]
    assert [leader for leader, _ in client.asked] == [1, 3]


def test_nothing_is_sent_again_by_a_producer_that_was_given_up() -> None:
    client = Client(KafkaConnectionError("gone"))
    assert settled(client, lambda: False) == [(ONE, KafkaError), (TWO, KafkaError)]
    assert len(client.asked) == 1


def test_a_batch_carries_the_producer_and_goes_on_with_its_sequence() -> None:
    kafka: Any = Kafka()
    for first in (0, 2):
        batch = Batch(kafka, ONE, 10_000)
        assert batch.append(1_700_000_000_000, b"k", b"v" * 50, [("traceparent", b"x")])
        assert batch.append(1_700_000_000_001, None, b"w", [])
        read = DefaultRecordBatch(bytearray(batch.seal()))
        assert (read.producer_id, read.producer_epoch, read.base_sequence) == (7, 0, first)
        assert read.validate_crc()
        records = list(read)
        assert [(record.offset, record.key, record.value) for record in records] == [
            (0, b"k", b"v" * 50),
            (1, None, b"w"),
        ]
        assert records[0].timestamp == 1_700_000_000_000
        assert records[0].headers == [("traceparent", b"x")]


def test_a_full_batch_takes_no_more_but_its_first_record_always() -> None:
    batch = Batch(Kafka(), ONE, 100)
    assert batch.append(1, None, b"x" * 500, [])
    assert not batch.append(1, None, b"x", [])


def test_a_partition_whose_leader_changes_has_one_batch_under_way() -> None:
    """The next one would arrive first, out of sequence, and end the producer."""

    async def run() -> None:
        answers = [asyncio.get_running_loop().create_future() for _ in range(3)]
        client, waiting = Client(), iter(answers)

        async def send(leader: int, request: Any) -> Answered:
            client.asked.append((leader, {ONE: request._topics[0][1][0][1]}))
            return Answered(await next(waiting))

        client.send = send  # type: ignore[method-assign]
        producer = Producer("nowhere", ["t"], Budget(10_000), 5)
        producer._kafka, producer._queues = Kafka(client), {"t": [deque(), deque()]}
        first = producer.send("t", [(0, b"k", b"first", 1, [])])
        await turns()
        client.leaders[ONE] = 2
        second = producer.send("t", [(0, b"k", b"second", 1, [])])
        await turns()
        assert len(client.asked) == 1
        answers[0].set_result({ONE: NotLeaderForPartitionError.errno})
        await turns()
        answers[1].set_result({ONE: 0})
        await first
        assert not second.done()
        answers[2].set_result({ONE: 0})
        await second
        sequences = [(leader, DefaultRecordBatch(bytearray(sent[ONE])).base_sequence) for leader, sent in client.asked]
        assert sequences == [(1, 0), (2, 0), (2, 1)]

    asyncio.run(run())
