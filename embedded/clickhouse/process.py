"""The embedded ClickHouse as a child process.

Errors: PlaceError (embedded.place), StartError (embedded.server).
"""

import http.client
import os
import sys
from pathlib import Path

from embedded.place import LOOPBACK, free_port, require_port
from embedded.server import Server
from runtime.settings import Settings, environment, load

PROBE_TIMEOUT = 1.0


class ClickHouse(Server):
    """One process. Accounts, limits and logs come from ``settings``; ``faults`` lets tests make it fail."""

    name = "ClickHouse"

    def __init__(
        self, folder: Path, port: int | None = None, *, settings: Settings | None = None, faults: bool = False
    ) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        self._settings, self._faults = settings or load(), faults

    @property
    def address(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        require_port(self.port, "ClickHouse", "--clickhouse-port")

    def command(self) -> list[str]:
        arguments = ["--folder", str(self.folder / "data"), "--port", str(self.port)]
        return [sys.executable, "-m", "embedded.clickhouse", *arguments, *(["--faults"] if self._faults else [])]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **environment(self._settings), "TZ": "UTC"}

    def is_ready(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=PROBE_TIMEOUT)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
