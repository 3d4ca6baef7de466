"""Which agents a worker runs."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import streams.agents
from runtime.settings import SettingsError, load
from streams.agents import exact_agents, touches

COPIED = """
from streams.agents.touches import agent
"""


def test_a_copied_agent_that_kept_its_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copied_touches.py").write_text(COPIED)
    monkeypatch.setattr(streams.agents, "__path__", [*streams.agents.__path__, str(tmp_path)])
    with pytest.raises(SettingsError, match=r"^streams/agents/copied_touches.py .* 'touches'; .* 'copied_touches'$"):
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
