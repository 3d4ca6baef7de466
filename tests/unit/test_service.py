"""How a worker and a sink end, whatever they are at."""

import asyncio
import signal
import socket
import subprocess
import sys

import pytest

from cli.service import serve
from embedded.place import LOOPBACK

PROGRAM = """
import asyncio
from cli import service

class Stuck:
    async def connect(self): ...
    async def start(self):
        print("starting", flush=True)
        await asyncio.Event().wait()
    def ready(self): return "starting"
    async def stop(self): ...

service.PATIENCE = 0.2

async def main():
    stuck = Stuck()
    stuck.failed = asyncio.get_running_loop().create_future()
    return await service.serve(stuck, "worker", ("127.0.0.1", 0))

raise SystemExit(asyncio.run(main()))
"""


def test_it_ends_in_time_though_kafka_never_lets_it_start() -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"starting\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


class Idle:
    """A service that would run."""

    def __init__(self) -> None:
        self.failed = asyncio.get_running_loop().create_future()
        self.stopped = False

    async def connect(self) -> None:
        pytest.fail("it began")

    async def start(self) -> None: ...

    def ready(self) -> str:
        return ""

    async def stop(self) -> None:
        self.stopped = True


def test_an_address_on_which_it_cannot_listen_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    async def run(host: str, port: int) -> int:
        idle = Idle()
        code = await serve(idle, "worker", (host, port))
        assert idle.stopped
        return code

    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        assert asyncio.run(run(LOOPBACK, port)) == 2
    assert capsys.readouterr().err == f"sluice worker: cannot listen on {LOOPBACK}:{port}: the port is taken\n"
    assert asyncio.run(run("192.0.2.1", 0)) == 2  # of nobody's, by RFC 5737
    assert "cannot listen on 192.0.2.1:0: " in capsys.readouterr().err
