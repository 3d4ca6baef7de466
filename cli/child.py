"""A child of the supervisor: started, and started again with backoff whenever it ends unasked.

Errors: PlaceError, where it cannot be started the first time.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from cli.childlog import ChildLog
from cli.stack import Process, Role
from embedded.place import PlaceError

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
STEADY = 30.0
"""Seconds after which a child counts as steady: when it ends after that, the backoff begins anew."""


@dataclass(frozen=True)
class Program:
    """How a role is run."""

    spawn: Callable[[], subprocess.Popen[bytes]]
    """Starts the process with its output in a pipe. Raises PlaceError, OSError."""
    is_ready: Callable[[], bool]
    stop_limit: float
    """Seconds between SIGTERM and SIGKILL."""


class Child:
    """One role and its process, if it runs. ``tick`` is called a few times a second."""

    def __init__(
        self, role: Role, program: Program, log: ChildLog, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.role, self.log, self._program, self._clock = role, log, program, clock
        self.process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None
        """Of the process that ended last."""
        self._started_at = 0.0
        self._retry_at = 0.0
        self._delay = FIRST_DELAY

    def start(self) -> None:
        """Starts the process. Raises PlaceError, OSError."""
        self.process = self._program.spawn()
        self._started_at = self._clock()
        assert self.process.stdout is not None
        self.log.follow(self.process.stdout)
        self.role.process = Process.of(self.process.pid)
        self.role.state = "starting"

    def tick(self) -> str | None:
        """One look at the process; a sentence where something happened."""
        if self.process is None:
            return self._again() if self.role.state == "restarting" and self._clock() >= self._retry_at else None
        if self.process.poll() is not None:
            self.exit_code = self.process.returncode
            return self._ended(_how(self.exit_code))
        if self.role.state == "starting" and self._program.is_ready():
            self.role.state = "up"
            return f"{self.role.role} is up"
        return None

    def _ended(self, how: str) -> str:
        if self._clock() - self._started_at >= STEADY:
            self._delay = FIRST_DELAY
        self.process = self.role.process = None
        self.role.state = "restarting"
        self.role.restarts += 1
        delay, self._delay = self._delay, min(2 * self._delay, LONGEST_DELAY)
        self._retry_at = self._clock() + delay
        return f"{self.role.role} {how}; it is started again in {delay:g} s"

    def _again(self) -> str | None:
        try:
            self.start()
        except (PlaceError, OSError) as error:
            self._started_at = self._clock()
            return self._ended(f"cannot be started ({error})")
        return None

    def terminate(self) -> None:
        """Asks the process to end; ``join`` waits for it."""
        self.role.state = "stopping"
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)  # a frozen one could not end
            self.process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    def gone(self) -> bool:
        """Whether no process is left; an asked-for end is noted."""
        if self.process is not None:
            if self.process.poll() is None:
                return False
            self.process = None
        self.role.process, self.role.state = None, "down"
        return True

    @property
    def stop_limit(self) -> float:
        """Seconds that it has to end."""
        return self._program.stop_limit


def _how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
