"""What a child process writes: kept in a file of bounded size, and shown line by line where a terminal wants it."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

LIMIT = 10 * 1024 * 1024
LONGEST_LINE = 64 * 1024


class ChildLog:
    """One role's log. Beyond ``limit`` bytes the file becomes ``.1`` and the one before that is dropped."""

    def __init__(self, path: Path, show: Callable[[str], None] | None = None, limit: int = LIMIT) -> None:
        self.path, self._show, self._limit = path, show, limit
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - open as long as the role may start again
        self._lock = threading.Lock()

    def follow(self, pipe: IO[bytes]) -> threading.Thread:
        """Copies the pipe until the child closes it. A child never waits for us: its lines are always taken."""
        thread = threading.Thread(target=self._copy, args=(pipe,), name=f"log {self.path.name}", daemon=True)
        thread.start()
        return thread

    def _copy(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(LONGEST_LINE):
                with self._lock:
                    self._keep(line)
                if self._show is not None:
                    self._show(line.decode(errors="backslashreplace").rstrip())

    def _keep(self, line: bytes) -> None:
        try:
            if self._file.tell() + len(line) > self._limit:
                self._file.close()
                os.replace(self.path, self.path.with_name(f"{self.path.name}.1"))
                self._file = open(self.path, "ab")  # noqa: SIM115
            self._file.write(line)
            self._file.flush()
        except OSError as error:  # a full disk costs the log, not the child
            if self._show is not None:
                self._show(f"(its log is not kept: {error.strerror})")

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._file.close()
