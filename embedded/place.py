"""Where a server may stand: a folder of its own, a free port on loopback, room on the disk.

Errors: PlaceError, whose message is a sentence for the person who started it.
"""

import errno
import fcntl
import os
import random
import shutil
import socket
import time
from collections import deque
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 10240, 32767
"""Below the range from which Linux takes the ports of outgoing connections: one of those could sit on a server's port
while that server is being restarted."""


class PlaceError(RuntimeError):
    """The server cannot stand here."""


class Claim:
    """A folder that one server has for itself, until it and every child that inherited ``fd`` has ended."""

    def __init__(self, folder: Path, wait: float = 0) -> None:
        """Makes the folder and claims it within ``wait`` seconds. Raises PlaceError."""
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PlaceError(f"The data folder {self.folder} cannot be used: {error.strerror}.") from error
        deadline = time.monotonic() + wait
        while not self._take():
            if time.monotonic() >= deadline:
                owner = os.pread(self.fd, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(self.fd)
                raise PlaceError(f"The data folder {self.folder} is in use by another process (pid {owner}).")
            time.sleep(0.1)
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def _take(self) -> bool:
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            os.close(self.fd)
            raise PlaceError(f"The data folder {self.folder} cannot be locked: {error.strerror}.") from error
        return True

    def release(self) -> None:
        """Gives this process's share of the claim up; a child that inherited it keeps its own."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on ``port`` now. Raises PlaceError where it could not on any of ``host``."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise PlaceError(f"Nothing can listen on the address {host}: {error.strerror}.") from error
    return True


def require_port(port: int, what: str, option: str, host: str = LOOPBACK, wait: float = 0) -> None:
    """Raises PlaceError where ``what`` could not listen on ``port`` within ``wait`` seconds, naming the ``option`` that
    changes it."""
    deadline = time.monotonic() + wait
    while not is_free(port, host):
        if time.monotonic() >= deadline:
            raise PlaceError(f"Port {port} for {what} is taken by another program: choose another with {option}.")
        time.sleep(0.1)


_GIVEN: deque[int] = deque(maxlen=256)


def free_port() -> int:
    """A port that nobody listens on now, at random, so that parallel runs seldom meet. Raises PlaceError.

    Not one of the last that this process was given: nobody may listen on it yet.
    """
    for _ in range(200):
        port = random.randint(FIRST_PORT, LAST_PORT)  # noqa: S311 - no secret
        if port not in _GIVEN and is_free(port):
            _GIVEN.append(port)
            return port
    raise PlaceError(f"No port between {FIRST_PORT} and {LAST_PORT} is free.")


def require_space(folder: Path, least: int) -> None:
    """Raises PlaceError where the disk of ``folder`` has less than ``least`` bytes free."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if free < least:
        raise PlaceError(
            f"Too little disk space for {folder}: {free >> 20} MiB are free, {least >> 20} MiB are needed at least."
        )
