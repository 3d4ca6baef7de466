"""Which record holds a worker up is said."""

import asyncio
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.watchdog import Watchdog

_AGENT = """
def looked_up(wait):
    wait()

def step(record, wait):
    looked_up(wait)
"""
_LANE = """
def compute(self, step, *given):
    step(*given)
"""


def _function(module: str, source: str, name: str) -> Callable[..., Any]:
    found: dict[str, Any] = {"__name__": module}
    exec(source, found)
    return found[name]  # type: ignore[no-any-return]


async def _watched(work: Callable[[], Any], seconds: float) -> None:
    watchdog = Watchdog(tick=0.02, patience=5)
    watchdog.start()
    try:
        work()
        await asyncio.sleep(seconds)
    finally:
        watchdog.stop()


def test_a_step_that_does_not_end_is_named(caplog: pytest.LogCaptureFixture) -> None:
    step, compute = _function("streams.agents.mine", _AGENT, "step"), _function("runtime.lane", _LANE, "compute")
    lane, record = SimpleNamespace(name="mine-3"), SimpleNamespace(offset=41)
    with caplog.at_level(logging.WARNING):
        asyncio.run(_watched(lambda: compute(lane, step, record, lambda: time.sleep(1)), 0))
    first = caplog.messages[0]
    assert first.startswith("mine-3@41 has been at streams.agents.mine:3 for 0.1 s"), first


def test_what_is_no_lane_is_told_by_its_line(caplog: pytest.LogCaptureFixture) -> None:
    step = _function("streams.plain.mine", _AGENT, "step")
    with caplog.at_level(logging.WARNING):
        asyncio.run(_watched(lambda: step(None, lambda: time.sleep(1)), 0))
    assert caplog.messages[0].startswith("the worker has been at streams.plain.mine:3 ")


def test_nothing_is_said_of_a_loop_that_moves(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        asyncio.run(_watched(lambda: None, 0.5))
    assert caplog.messages == []
