"""What the embedded servers share: one process on a folder of its own, started, watched, frozen, killed and stopped.

Errors: PlaceError (before anything was started), StartError (it was started and did not become ready).
"""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections import deque
from pathlib import Path
from typing import IO

from embedded.place import Claim, PlaceError, require_space
from runtime.leash import leashed

LEAST_SPACE = 256 * 1024 * 1024
CLAIM_WAIT = 10.0
"""Seconds in which an earlier process of the same folder, being killed at this moment, may end."""


class StartError(RuntimeError):
    """The server ended, or did not answer in time; the message has the end of its log."""


class Server(ABC):
    """A server of ours on loopback. Its process ends with ours, however ours ends.

    Not for several threads at once. Start it from the main thread: see ``runtime.leash``.
    """

    name: str
    start_limit = 60.0
    stop_limit = 20.0
    """Seconds; after the latter a stop becomes a SIGKILL, which every server of ours survives."""

    def __init__(self, folder: Path, claim_wait: float = CLAIM_WAIT) -> None:
        self.folder = folder.absolute()
        self.process: subprocess.Popen[bytes] | None = None
        self._claim: Claim | None = None
        self._claim_wait = claim_wait

    @property
    @abstractmethod
    def address(self) -> str:
        """Where clients find it."""

    @abstractmethod
    def prepare(self) -> None:
        """Writes what the process needs before it starts. Raises PlaceError."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers now; asked within about a second."""

    def environment(self) -> dict[str, str]:
        """The process's environment."""
        return dict(os.environ)

    def occupy(self) -> Claim:
        """Takes the folder and prepares it; may last, unlike the ``spawn`` after it. Raises PlaceError."""
        if self._claim is None:
            self._claim = Claim(self.folder, self._claim_wait)
        require_space(self.folder, LEAST_SPACE)
        self.prepare()
        return self._claim

    def spawn(self, output: IO[bytes] | int) -> subprocess.Popen[bytes]:
        """Starts the process with its log going to ``output`` and does not wait for it. Raises PlaceError."""
        claim = self.occupy()
        try:
            self.process = subprocess.Popen(
                leashed(self.command()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                pass_fds=(claim.fd,),
                process_group=0,  # a Ctrl-C at the terminal is the supervisor's to pass on, in order
            )
        except OSError as error:
            raise PlaceError(f"{self.name} cannot be started: {error}.") from error
        return self.process

    @property
    def log(self) -> Path:
        """Where ``start`` lets the process write."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Starts the process and returns when it is ready. Raises PlaceError, StartError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as output:
            self.spawn(output)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Returns when the process answers; ends it and raises StartError where it does not in time."""
        deadline = time.monotonic() + self.start_limit
        while not self.is_ready():
            process = self._running()
            if process.poll() is not None:
                reason = f"ended with {process.returncode}"
            elif time.monotonic() > deadline:
                reason = f"was not ready within {self.start_limit:.0f} s"
            else:
                time.sleep(0.05)
                continue
            self.kill()
            raise StartError(f"{self.name} {reason}. Its log {self.log} ends:\n{tail(self.log)}")

    def stop(self) -> None:
        """Asks the process to end and waits for it; gives the folder back."""
        process = self.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGCONT)  # a frozen one could not end
            process.terminate()
            try:
                process.wait(self.stop_limit)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._gone()

    def kill(self) -> None:
        """SIGKILL, and waits for the end; the folder can be used again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._gone()

    def freeze(self) -> None:
        """SIGSTOP: it neither answers nor ends until ``thaw``."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self.process

    def _gone(self) -> None:
        self.process = None
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def tail(path: Path, lines: int = 15) -> str:
    """The last ``lines`` of a log; what is not UTF-8 is shown as such."""
    try:
        with open(path, errors="backslashreplace") as file:
            return "".join(deque(file, lines)).rstrip()
    except FileNotFoundError:
        return ""
