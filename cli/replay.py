"""`sluice replay AGENT`: computes an agent's state and rows again, from the log, under a new epoch.

It runs beside the workers, which go on. Once it has caught up and its rows are in ClickHouse, the views turn to them
and the workers to the new state, at once. What the log no longer has is taken from ClickHouse's `events`.
"""

import argparse
import asyncio
import sys
import time

import uvloop
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.arguments import seconds
from cli.rebuild import Rebuild, Refusal
from runtime import logs, memory
from runtime.agent import Agent
from runtime.app import Crashed
from runtime.lane import Fatal
from runtime.producer import SendFailed
from runtime.settings import Settings
from sinks.clickhouse import Refused, Unreachable, connect
from streams.agents import exact_agents

LIMIT = 24 * 3600


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("agent", metavar="AGENT", help="the agent to rebuild")
    parser.add_argument("--limit", type=seconds, default=LIMIT, metavar="S", help="give up after so many seconds")
    parser.add_argument("--keep", action="store_true", help="keep the rows of former epochs, which no view shows")


def run(settings: Settings, agent: str, limit: float = LIMIT, keep: bool = False) -> int:
    """Exit code: 0 done, 1 not, 2 for an agent that there is not or that cannot be rebuilt so."""
    logs.configure("warning", settings.log_format)
    memory.settle(memory.BATCHES)
    try:
        chosen = replayable(settings, agent)
    except Refusal as error:
        print(error, file=sys.stderr)
        return 2
    try:
        uvloop.run(_run(settings, chosen, limit, keep))
    except (Unreachable, Refused, Fatal, Crashed, SendFailed, KafkaError, ClickHouseError) as error:
        print(f"sluice replay: {error}", file=sys.stderr)
        return 1
    except TimeoutError:
        print(f"sluice replay: not done within {limit:.0f} s; the rebuild has had no effect", file=sys.stderr)
        return 1
    return 0


def replayable(settings: Settings, name: str) -> Agent:
    """The agent. Raises Refusal where there is none, or its outputs are the inputs of others."""
    agents = {agent.name: agent for agent in exact_agents(settings)}
    if name not in agents:
        raise Refusal(f"there is no agent {name!r}; there are {', '.join(agents)}")
    read = {agent.source.name for agent in agents.values()}
    feeding = [topic.name for topic in agents[name].outputs if topic.name in read]
    if feeding:
        raise Refusal(
            f"other agents read what {name} writes ({', '.join(feeding)}), and have applied it: its state alone is "
            f"computed again by `sluice worker --rebuild {name}`"
        )
    return agents[name]


async def _run(settings: Settings, agent: Agent, limit: float, keep: bool) -> None:
    started = time.monotonic()
    client = await asyncio.to_thread(connect, settings)
    rebuild = Rebuild(settings, agent, client, say=lambda text: print(text, flush=True))
    try:
        async with asyncio.timeout(limit):
            epoch = await rebuild.run(keep)
    finally:
        await rebuild.close()
        client.close()
    print(f"{agent.name} counts from epoch {epoch} on, after {time.monotonic() - started:.1f} s")
