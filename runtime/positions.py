"""How far logs go and how far groups have come, asked from outside of any group.

Errors: aiokafka's KafkaError, OSError.
"""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from runtime.ending import end

Offsets = dict[tuple[str, int], int]
"""By topic and partition."""


class Positions:
    """Connections that are made when first needed, and made anew after an error."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def committed(self, group: str) -> Offsets:
        """What the group has committed; partitions where it has not are missing.

        All are while no broker answers for the group: none has ever met, or its broker has just gone.
        """
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap)
            await self._admin.start()
        try:
            found = await self._admin.list_consumer_group_offsets(group)
        except (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, GroupLoadInProgressError):
            return {}
        return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}

    async def ends(self, topics: Iterable[str]) -> Offsets:
        """Offset of the next record in every partition. Raises KafkaError where a topic does not exist."""
        consumer = await self._reader()
        return self._by_place(await consumer.end_offsets(await self._partitions(consumer, topics)))

    async def begins(self, topics: Iterable[str]) -> Offsets:
        """Offset of the first record that is still there, in every partition."""
        consumer = await self._reader()
        return self._by_place(await consumer.beginning_offsets(await self._partitions(consumer, topics)))

    async def _reader(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
            await self._consumer.start()
        return self._consumer

    @staticmethod
    async def _partitions(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
        found = []
        for topic in topics:
            await consumer._client._wait_on_metadata(topic)
            partitions = consumer.partitions_for_topic(topic)
            if not partitions:
                raise KafkaError(f"no topic {topic}")
            found += [TopicPartition(topic, partition) for partition in sorted(partitions)]
        return found

    @staticmethod
    def _by_place(found: dict[TopicPartition, int]) -> Offsets:
        return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

    async def close(self) -> None:
        """Closes the connections; they are made anew when needed."""
        admin, self._admin = self._admin, None
        consumer, self._consumer = self._consumer, None
        for client in (admin, consumer):
            if client is not None:
                await end(client)
