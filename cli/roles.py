"""The roles as child processes: each is `sluice ROLE`, configured by its environment, asked by HTTP if it is ready."""

import http.client
import os
import subprocess
import sys
from collections.abc import Callable

from cli.child import Child, Program
from cli.childlog import ChildLog
from cli.stack import Role
from embedded.place import LOOPBACK, free_port
from runtime.leash import leashed
from runtime.settings import Settings, environment

PROBE_TIMEOUT = 1.0
STOP_LIMIT = 30.0
MARGIN = 5.0
"""Seconds that a gateway has beyond its own drain."""

MakeLog = Callable[[str], ChildLog]


def children(settings: Settings, log: MakeLog) -> list[Child]:
    """Gateway, workers and sink, on the ports of the settings or on free ones."""
    gateway = role("gateway", settings, log("gateway"), settings.gateway_port, settings.gateway_host)
    workers = []
    for slot in range(settings.workers):
        port = settings.worker_port + slot if settings.worker_port else free_port()
        own = settings.model_copy(update={"slot": slot, "worker_port": port})
        name = "worker" if settings.workers == 1 else f"worker-{slot}"
        workers.append(role("worker", own, log(name), port, settings.worker_host))
    port = settings.sink_port or free_port()
    own = settings.model_copy(update={"sink_port": port})
    return [gateway, *workers, role("sink", own, log("sink"), port, settings.worker_host)]


def role(name: str, settings: Settings, log: ChildLog, port: int, host: str) -> Child:
    """A child that runs `sluice NAME` and answers on ``port``."""
    environ = {**os.environ, **environment(settings)}

    def spawn() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            leashed([sys.executable, "-m", "cli.main", name]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environ,
            process_group=0,  # a Ctrl-C at the terminal is the supervisor's to pass on, in order
        )

    near = LOOPBACK if host in ("0.0.0.0", "::") else host  # noqa: S104 - asked, not listened on
    limit = settings.gateway_drain_timeout + MARGIN if name == "gateway" else STOP_LIMIT
    program = Program(spawn, lambda: answers(near, port, "/ready"), limit)
    return Child(Role(name, address=f"http://{near}:{port}"), program, log)


def answers(host: str, port: int, path: str, secure: bool = False) -> bool:
    """Whether a GET of ``path`` is answered with 200 within a second."""
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(host, port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
