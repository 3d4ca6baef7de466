"""Kafka as tests use it, in plain calls that work with or without an event loop around them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import KafkaError

from runtime.ending import end
from schemas.topics import MAX_MESSAGE_BYTES

Result = TypeVar("Result")
LIMIT = 60.0


def run(function: Callable[[], Awaitable[Result]], limit: float = LIMIT) -> Result:
    """What the coroutine returns, from a loop of its own on another thread. Raises TimeoutError."""

    async def bounded() -> Result:
        async with asyncio.timeout(limit):
            return await function()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, bounded()).result()


def create_topics(
    bootstrap: str, names: Iterable[str], partitions: int = 4, replication: int = 1, **config: str
) -> None:
    """Creates topics; ``config`` has Kafka's settings with underscores for dots."""
    settings = {name.replace("_", "."): value for name, value in config.items()}
    topics = [NewTopic(name, partitions, replication, topic_configs=settings) for name in names]

    async def create() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            answer = await admin.create_topics(topics)
            failed = [row for row in answer.topic_errors if row[1] != 0]
            assert not failed, failed
            while any(row["error_code"] for row in await admin.describe_topics([topic.name for topic in topics])):
                await asyncio.sleep(0.02)  # the controller has answered, the brokers learn of it now
        finally:
            await admin.close()

    run(create)


def produce(bootstrap: str, topic: str, records: Sequence[tuple[bytes | None, bytes | None]]) -> None:
    """Appends keys and values and returns when all are acknowledged by every replica."""

    async def send() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=5,
            max_request_size=MAX_MESSAGE_BYTES,
        )
        await producer.start()
        try:
            acknowledgements = [await producer.send(topic, value, key) for key, value in records]
            await asyncio.gather(*acknowledgements)
        finally:
            await producer.stop()

    run(send)


def produce_records(bootstrap: str, records: Iterable[tuple[str, int, bytes, bytes | None, list[Any]]]) -> None:
    """Appends (topic, partition, key, value, headers) and returns when all are acknowledged."""

    async def send() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, enable_idempotence=True, linger_ms=5, max_request_size=MAX_MESSAGE_BYTES
        )
        await producer.start()
        try:
            sent = [
                await producer.send(topic, value, key, partition, headers=headers)
                for topic, partition, key, value, headers in records
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    run(send)


def delete_records(bootstrap: str, topic: str, partition: int, before: int) -> None:
    """Deletes the partition's records before an offset, as retention does."""

    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.delete_records({TopicPartition(topic, partition): RecordsToDelete(before)})
        finally:
            await admin.close()

    run(delete)


def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Every record that the topic holds now, by partition and offset."""

    async def read() -> list[Any]:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            places = [TopicPartition(topic, number) for number in await partitions_of(bootstrap, topic)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            found = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += records
            return sorted(found, key=lambda record: (record.partition, record.offset))
        finally:
            await consumer.stop()

    return run(read)


def in_step(bootstrap: str, replicas: int) -> bool:
    """Whether every partition of every topic has so many replicas that have all its records; not while none answers."""

    async def ask() -> bool:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            await admin.start()
            topics = await admin.describe_topics()
        except KafkaError:
            return False
        finally:
            await end(admin)
        return all(len(partition["isr"]) >= replicas for topic in topics for partition in topic["partitions"])

    return run(ask)


async def partitions_of(bootstrap: str, topic: str) -> list[int]:
    """The topic's partitions; raises AssertionError where there is no such topic."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        (found,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    assert found["error_code"] == 0, found
    return sorted(partition["partition"] for partition in found["partitions"])
