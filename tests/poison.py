"""`python -m tests.poison`: `sluice worker`, whose agents named in POISONED fail on records that hold b"poison"."""

import os
import sys
from dataclasses import replace
from typing import Any

import cli.worker
from runtime.agent import Agent, Emit, State
from runtime.settings import Settings, load
from streams.agents import exact_agents

POISONED = os.environ.get("POISONED", "").split(",")


def _agents(settings: Settings) -> list[Agent]:
    return [_poisoned(agent) if agent.name in POISONED else agent for agent in exact_agents(settings)]


def _poisoned(agent: Agent) -> Agent:
    def step(record: Any, state: State, emit: Emit) -> None:
        if b"poison" in record.value:
            raise ValueError("poison")
        agent.step(record, state, emit)

    return replace(agent, step=step)


if __name__ == "__main__":
    cli.worker.exact_agents = _agents  # type: ignore[attr-defined]
    sys.exit(cli.worker.run(load()))
