"""Progress of something long: a line that renews itself on a terminal; elsewhere one line at its start and its end."""

import sys
import threading
import time
from types import TracebackType
from typing import TextIO

INTERVAL = 0.1


class Progress:
    """Counts up to ``total`` and says so on ``stream``, by default standard error. Safe to use from several threads."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self.label, self.total, self.done = label, total, 0
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._lock = threading.Lock()
        self._shown_at = 0.0

    def __enter__(self) -> "Progress":
        self._write(f"{self.label} …" if not self._terminal else self._line())
        return self

    def advance(self, count: int = 1) -> None:
        """``count`` more are done."""
        with self._lock:
            self.done += count
            now = time.monotonic()
            if self._terminal and now - self._shown_at >= INTERVAL:
                self._shown_at = now
                self._write(self._line())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(self._line() if self._terminal else f"{self.label}: {self.done} of {self.total}")
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _line(self) -> str:
        width = 24
        filled = width * self.done // max(1, self.total)
        return f"{self.label} {'█' * filled}{'·' * (width - filled)} {self.done} of {self.total}"

    def _write(self, text: str) -> None:
        self._stream.write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")
        self._stream.flush()
