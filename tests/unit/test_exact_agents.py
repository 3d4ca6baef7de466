"""Which agents a worker runs."""

from pathlib import Path

import pytest

import streams.agents
from runtime.settings import SettingsError, load
from streams.agents import exact_agents

COPIED = """
from streams.agents.touches import agent
"""


def test_a_copied_agent_that_kept_its_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "copied_touches.py").write_text(COPIED)
    monkeypatch.setattr(streams.agents, "__path__", [*streams.agents.__path__, str(tmp_path)])
    with pytest.raises(SettingsError, match=r"^streams/agents/copied_touches.py .* 'touches'; .* 'copied_touches'$"):
        exact_agents(load())
