"""A round of batches to Kafka's leaders: the same bytes again until each is acknowledged, or refused for good.

aiokafka's ``send_batch`` does as much with three tasks and five futures a batch, which under load was a quarter of the
gateway's processor time (docs/performance/gateway.md). What is its own stays its own: connections, metadata, the
producer's id and the sequence numbers. A partition has one batch under way, so none can arrive out of sequence.
"""

import asyncio
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import DuplicateSequenceNumber, KafkaError, NoError, for_code
from aiokafka.protocol.produce import ProduceRequest

import native
from runtime.batches import seal

RETRY = 0.1
"""Seconds before what a leader could not take is sent again."""

Settle = Callable[[TopicPartition, BaseException | None], None]
"""Is told of every partition once how its batch ended."""


class Batch:
    """Records for one partition, as long as no other batch of the partition is under way."""

    __slots__ = ("_place", "_records", "_state", "append")

    def __init__(self, kafka: AIOKafkaProducer, place: TopicPartition, room: int) -> None:
        self._place, self._state, self._records = place, kafka._txn_manager, native.Batch(room)
        self.append = self._records.add
        """(timestamp, key, value, headers): whether there was room; the first record always finds some."""

    def seal(self) -> bytes:
        """Its bytes, compressed; from now on its sequence numbers are used up."""
        state = self._state
        producer = state.producer_id, state.producer_epoch, state.sequence_number(self._place)
        state.increment_sequence_number(self._place, self._records.count)
        return seal(self._records, producer)


async def deliver(
    kafka: AIOKafkaProducer,
    batches: dict[TopicPartition, bytes],
    patience: float,
    in_use: Callable[[], bool],
    settle: Settle,
) -> None:
    """Returns when all are settled; ``patience``: seconds that a leader has to answer.

    What is still under way when the producer is no longer ``in_use`` has failed.
    """
    while True:
        for leader, places in _by_leader(kafka, batches).items():
            asked = {place: batches[place] for place in places}
            for place, error in (await _produce(kafka, leader, asked, patience)).items():
                if error is None or not getattr(error, "retriable", False):
                    del batches[place]
                    settle(place, error)
        if not batches:
            return
        await asyncio.sleep(RETRY)
        try:
            if not in_use():
                raise KafkaError("the producer is closed")
            await kafka.client.force_metadata_update()
        except KafkaError as error:
            for place in batches:
                settle(place, error)
            return


def _by_leader(kafka: AIOKafkaProducer, batches: Mapping[TopicPartition, bytes]) -> dict[int, list[TopicPartition]]:
    """The partitions of each leader; those without one have to wait."""
    leaders: dict[int, list[TopicPartition]] = {}
    for place in batches:
        leader = kafka.client.cluster.leader_for_partition(place)
        if leader is not None and leader >= 0:
            leaders.setdefault(leader, []).append(place)
    return leaders


async def _produce(
    kafka: AIOKafkaProducer, leader: int, batches: Mapping[TopicPartition, bytes], patience: float
) -> Mapping[TopicPartition, BaseException | None]:
    """One request, and what became of each batch; None: Kafka has it."""
    topics: dict[str, list[tuple[int, bytes]]] = {}
    for place, data in batches.items():
        topics.setdefault(place.topic, []).append((place.partition, data))
    try:
        answer = await kafka.client.send(leader, ProduceRequest(None, -1, int(patience * 1000), list(topics.items())))
    except Exception as error:  # whatever it is, they were not acknowledged
        return dict.fromkeys(batches, error)
    outcome: dict[TopicPartition, BaseException | None] = dict.fromkeys(batches, KafkaError("no answer"))
    for topic, partitions in answer.topics:
        for partition, code, *_ in partitions:
            kind = for_code(code)
            outcome[TopicPartition(topic, partition)] = None if kind in _STORED else kind()
    return outcome


_STORED = (NoError, DuplicateSequenceNumber)
"""The second is of a batch that was sent again although it had arrived."""
