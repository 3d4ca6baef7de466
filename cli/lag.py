"""How far worker and sink are behind: records in their inputs that their consumer group has not committed."""

import asyncio
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from runtime.ending import end
from runtime.settings import Settings
from runtime.topics import admin_of

LIMIT = 10.0


async def lags(settings: Settings, groups: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """For each consumer group, which reads the given topics, its lag in records. Raises KafkaError, TimeoutError."""
    topics = sorted({topic for inputs in groups.values() for topic in inputs})
    async with asyncio.timeout(LIMIT), admin_of(settings) as admin:
        ends = await _ends(settings, admin, topics)
        found = {}
        for group, inputs in groups.items():
            committed = await admin.list_consumer_group_offsets(group)
            found[group] = sum(
                max(0, end - max(begin, committed[place].offset if place in committed else 0))
                for place, (begin, end) in ends.items()
                if place.topic in inputs
            )
        return found


async def _ends(
    settings: Settings, admin: AIOKafkaAdminClient, topics: list[str]
) -> dict[TopicPartition, tuple[int, int]]:
    """(first offset, next offset) of each partition; topics that do not exist have none."""
    places = [
        TopicPartition(row["topic"], partition["partition"])
        for row in await admin.describe_topics(topics)
        for partition in row["partitions"]
    ]
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_address(), enable_auto_commit=False)
    try:
        await consumer.start()
        begins, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    finally:
        await end(consumer)
    return {place: (begins[place], ends[place]) for place in places}
