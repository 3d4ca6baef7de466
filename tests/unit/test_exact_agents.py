"""Which agents a worker runs, and what it refuses of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faust.types import TP

import streams.agents
from runtime.kafka import Log
from runtime.settings import SettingsError, load
from runtime.worker import Worker
from streams.agents import attribution, exact_agents, touches

COPIED = """
from streams.agents.touches import agent
"""


def test_a_copied_agent_that_kept_its_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copied_touches.py").write_text(COPIED)
    monkeypatch.setattr(streams.agents, "__path__", [*streams.agents.__path__, str(tmp_path)])
    with pytest.raises(SettingsError, match=r"^streams/agents/copied_touches.py .* 'touches'; .* 'copied_touches'$"):
        exact_agents(load())


READER = """
from dataclasses import replace
from schemas.topics import BETS
from streams.agents import touches

def agent(settings):
    return replace(touches.make(), name="reader", source=BETS)
"""


def test_an_agent_that_reads_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reader.py").write_text(READER)
    monkeypatch.setattr(streams.agents, "__path__", [*streams.agents.__path__, str(tmp_path)])
    with pytest.raises(SettingsError, match=r"^streams/agents/reader.py reads bets, a topic of rows"):
        exact_agents(load())


async def awaited(record: Any, state: Any, emit: Any) -> None:
    raise AssertionError


def yielding(record: Any, state: Any, emit: Any) -> Iterator[None]:
    yield


async def streaming(record: Any, state: Any, emit: Any) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("step", [awaited, yielding, streaming])
def test_a_step_that_would_never_run_is_refused(step: Any) -> None:
    with pytest.raises(TypeError, match=f"^{step.__name__} of the agent touches "):
        replace(touches.make(), step=step)


@pytest.mark.parametrize("close", [awaited, yielding])
def test_so_is_such_an_end_of_a_batch(close: Any) -> None:
    with pytest.raises(TypeError, match=f"^{close.__name__} of the agent touches "):
        replace(touches.make(), close=close)


def test_an_agent_writes_to_its_own_outputs_alone(tmp_path: Path) -> None:
    async def partitions() -> dict[str, int]:
        agents = [touches.make(), attribution.make(1, 1)]
        worker = Worker(agents, load(data_dir=tmp_path, kafka="127.0.0.1:1"))
        worker._partitions = dict.fromkeys(("touches", "attributions", "dead-letters"), 4)
        worker._logs = {"touches-changelog": Log("touches-changelog", 1)}
        return worker._lane(agents[0], TP("events", 0))._stepper.partitions

    assert asyncio.run(partitions()) == {"touches": 4, "dead-letters": 4}
