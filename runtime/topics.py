"""Creates topics and checks those that exist. Nothing that exists is changed unless it was asked for, and the partition
count never: which keys share a partition, and so the order of records and all state, depend on it.

Errors: aiokafka's KafkaError, TopicsRefused.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from runtime.settings import Settings
from runtime.words import counted
from schemas.topics import Topic

VISIBLE_WITHIN = 30.0
"""Seconds in which every broker knows a new topic."""
POLL = 0.05


class TopicsRefused(Exception):  # noqa: N818 - the topics are what is wrong
    """The broker would not create or change a topic; the message says which and why."""


@dataclass
class Found:
    """What stands on the broker beside what should."""

    topic: Topic
    partitions: int | None
    """None: there is no such topic."""
    faults: list[str] = field(default_factory=list)
    """How it differs, a sentence each."""
    state: str = "ok"
    """ok, missing, created, changed or differs."""


class Topics:
    """The topics of an installation, by its settings."""

    def __init__(self, topics: Iterable[Topic], settings: Settings) -> None:
        self._topics = {topic.name: topic for topic in topics}
        self._settings = settings

    def partitions(self, topic: Topic) -> int:
        """How many the topic should have."""
        return 1 if topic.single else self._settings.partitions

    def config(self, topic: Topic) -> dict[str, str]:
        """The broker's settings that the topic should have."""
        return topic.config() | {"min.insync.replicas": str(self._settings.min_insync_replicas)}

    async def check(self) -> list[Found]:
        """Every topic as it stands. Changes nothing."""
        async with admin_of(self._settings) as admin:
            return await self._check(admin)

    async def ensure(self, apply: bool = False) -> list[Found]:
        """Creates what is missing; with ``apply`` also corrects the settings of what differs. Raises TopicsRefused."""
        async with admin_of(self._settings) as admin:
            found = await self._check(admin)
            missing = [item for item in found if item.partitions is None]
            if missing:
                created = await self._create(admin, missing)
                found = await self._check(admin)
                for item in found:
                    item.state = "created" if item.topic.name in created else item.state
            if apply:
                await self._apply(admin, [item for item in found if item.state == "differs"])
            return found

    async def _check(self, admin: AIOKafkaAdminClient) -> list[Found]:
        described = await admin.describe_topics(list(self._topics))
        partitions = {row["topic"]: row["partitions"] for row in described if row["error_code"] == 0}
        configs = await _configs(admin, sorted(partitions))
        found = []
        for name, topic in self._topics.items():
            if name in partitions:
                faults = self._faults(topic, partitions[name], configs[name])
                found.append(Found(topic, len(partitions[name]), faults, "differs" if faults else "ok"))
            else:
                found.append(Found(topic, None, [], "missing"))
        return found

    def _faults(self, topic: Topic, partitions: Sequence[Any], config: dict[str, str]) -> list[str]:
        faults = []
        wanted = self.partitions(topic)
        if len(partitions) != wanted:
            faults.append(f"has {counted(len(partitions), 'partition')}, not {wanted}, and the count cannot be changed")
        replicas = min(len(partition["replicas"]) for partition in partitions)
        if replicas != self._settings.replication:
            faults.append(f"has {counted(replicas, 'replica')}, not {self._settings.replication}")
        faults += [
            f"{name} is {config.get(name, 'not set')}, not {value}"
            for name, value in self.config(topic).items()
            if config.get(name) != value
        ]
        return faults

    async def _create(self, admin: AIOKafkaAdminClient, missing: list[Found]) -> set[str]:
        """The names of those that were made by this call: another process may do the same at this moment."""
        new = [
            NewTopic(
                item.topic.name,
                self.partitions(item.topic),
                self._settings.replication,
                topic_configs=self.config(item.topic),
            )
            for item in missing
        ]
        answer = await admin.create_topics(new)
        refused = {row[0]: row for row in answer.topic_errors if row[1] not in (0, TopicAlreadyExistsError.errno)}
        if refused:
            reasons = (f"{name}: {_reason(row)}" for name, row in refused.items())
            raise TopicsRefused("Kafka refuses to create topics:\n" + "\n".join(reasons))
        await self._visible(admin)
        return {row[0] for row in answer.topic_errors if row[1] == 0}

    async def _visible(self, admin: AIOKafkaAdminClient) -> None:
        """Creation is answered by the controller before the brokers know of it."""
        deadline = time.monotonic() + VISIBLE_WITHIN
        while any(row["error_code"] for row in await admin.describe_topics(list(self._topics))):
            if time.monotonic() > deadline:
                raise TopicsRefused(f"Kafka has not made the topics within {VISIBLE_WITHIN:.0f} s")
            await asyncio.sleep(POLL)

    async def _apply(self, admin: AIOKafkaAdminClient, differing: list[Found]) -> None:
        for item in differing:
            resource = ConfigResource(ConfigResourceType.TOPIC, item.topic.name, configs=self.config(item.topic))
            for answer in await admin.alter_configs([resource]):
                for row in answer.resources:
                    if row[0] != 0:
                        raise TopicsRefused(f"Kafka refuses to change {item.topic.name}: {row[1]}")
        for now in await self._check(admin):
            for item in differing:
                if item.topic is now.topic:
                    item.state, item.faults = ("differs", now.faults) if now.faults else ("changed", item.faults)


@asynccontextmanager
async def admin_of(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client for the length of a ``with``. Raises KafkaError where no broker answers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_address(), request_timeout_ms=30_000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _configs(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for error_code, error_message, _, name, entries in answer.resources:
            if error_code:
                raise for_code(error_code)(error_message)
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _reason(row: Sequence[Any]) -> str:
    """From (name, error code, message or nothing)."""
    return str((row[2] if len(row) > 2 else "") or for_code(row[1]).__name__)
