"""Says in the log which record holds a worker up: while a step runs, nothing else of its process does.

An endless loop in an agent, or a call that waits, looks like a worker that is slow to start: its partitions pass to
another one, which meets the same record.
"""

import asyncio
import logging
import sys
import threading
from types import FrameType

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks."""
PATIENCE = 10
"""Looks in a row at which the event loop has not moved. Looks and not seconds, which pass for a stopped process too."""
AGENTS, LANE = "streams.", "runtime.lane"


class Watchdog:
    """A thread that watches an event loop. ``start`` it there, ``stop`` it once."""

    def __init__(self, tick: float = TICK, patience: int = PATIENCE) -> None:
        self._tick, self._patience = tick, patience
        self._beats = 0
        self._stopped = threading.Event()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watches the running loop."""
        self._beat(asyncio.get_running_loop())
        threading.Thread(target=self._watch, args=(threading.get_ident(),), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Watches no longer."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beats += 1
        self._timer = loop.call_later(self._tick, self._beat, loop)

    def _watch(self, thread: int) -> None:
        beats = looks = 0
        while not self._stopped.wait(self._tick):
            looks = looks + 1 if self._beats == beats else 0
            beats = self._beats
            if looks and looks % self._patience == 0:
                frame = sys._current_frames().get(thread)
                log.warning("%s for %g s; nothing else goes on in this worker", where(frame), looks * self._tick)


def where(frame: FrameType | None) -> str:
    """What a thread is at: agent and partition, the record, and the innermost line, of an agent where there is one."""
    lane = record = line = last = ""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        place = f"{module}:{frame.f_lineno}"
        last = last or place
        if module.startswith(AGENTS):
            line = line or place
            offset = getattr(frame.f_locals.get("record"), "offset", None)
            record = record if offset is None else f"@{offset}"
        elif module == LANE:
            lane = getattr(frame.f_locals.get("self"), "name", lane)
        frame = frame.f_back
    return f"{lane}{record} has been at {line or last}" if lane else f"the worker has been at {line or last}"
