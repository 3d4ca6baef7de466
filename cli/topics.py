"""Creates Kafka's topics where they are missing and checks those that exist.

Changes nothing that exists, and never a partition count; with --apply the other settings of a topic are corrected.
Exit code 1 where a topic is not as it should be.
"""

import argparse
import asyncio
import json
import sys

from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from runtime.settings import Settings
from runtime.topics import Found, Topics, TopicsRefused
from schemas.topics import TOPICS, Topic, changelog
from streams.agents import exact_agents
from streams.plain import plain_agents

FLAGS = ("partitions", "replication", "min_insync_replicas", "plain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="create nothing, only check")
    parser.add_argument("--apply", action="store_true", help="correct the settings of topics that differ")
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def all_topics(settings: Settings) -> list[Topic]:
    """Every topic of an installation: the contract's, and the changelogs of agents. Raises SettingsError."""
    exact = [changelog(agent.name, agent.retention) for agent in exact_agents(settings)]
    return [*TOPICS, *exact, *(topic for agent in plain_agents(settings) for topic in agent.changelogs())]


def run(settings: Settings, check: bool = False, apply: bool = False, json: bool = False) -> int:
    """Exit code: 0 where every topic is as it should be."""
    topics = Topics(all_topics(settings), settings)
    try:
        found = asyncio.run(topics.check() if check else topics.ensure(apply))
    except (KafkaError, TopicsRefused) as error:
        print(error if isinstance(error, TopicsRefused) else unreachable(settings, error), file=sys.stderr)
        return 1
    print(as_json(found) if json else as_table(found))
    return int(any(item.state in ("missing", "differs") for item in found))


def as_json(found: list[Found]) -> str:
    """{"topics": [{"topic", "partitions", "state", "faults"}]}"""
    rows = [
        {"topic": item.topic.name, "partitions": item.partitions, "state": item.state, "faults": item.faults}
        for item in found
    ]
    return json.dumps({"topics": rows})


def as_table(found: list[Found]) -> str:
    """For people."""
    width = max(len(item.topic.name) for item in found)
    lines = [f"{'TOPIC':<{width}}  PARTITIONS  STATE"]
    for item in found:
        count = "-" if item.partitions is None else str(item.partitions)
        lines.append(f"{item.topic.name:<{width}}  {count:>10}  {item.state}")
        lines += [f"{'':<{width}}              {fault}" for fault in item.faults]
    return "\n".join(lines)


def unreachable(settings: Settings, error: KafkaError) -> str:
    """The sentence for a Kafka that does not answer, or not about our topics."""
    if isinstance(error, UnknownTopicOrPartitionError):
        return f"Kafka at {settings.kafka_address()} does not have all of our topics: `sluice topics` makes them"
    return f"Kafka at {settings.kafka_address()} does not answer: {said(error)}"


def said(error: BaseException) -> str:
    """An error's text; some have none, and are told by their name."""
    return str(error) or repr(error)
