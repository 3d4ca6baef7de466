"""How a worker and a sink end, whatever they are at."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cli.service import serve
from embedded.place import LOOPBACK, free_port, is_free
from tests.sinks import until

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
    return await service.serve(stuck, "worker", ("127.0.0.1", 0), "127.0.0.1:1")

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
        code = await serve(idle, "worker", (host, port), f"{LOOPBACK}:1")
        assert idle.stopped
        return code

    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        assert asyncio.run(run(LOOPBACK, port)) == 2
    assert capsys.readouterr().err == f"sluice worker: cannot listen on {LOOPBACK}:{port}: the port is taken\n"
    assert asyncio.run(run("192.0.2.1", 0)) == 2  # of nobody's, by RFC 5737
    assert "cannot listen on 192.0.2.1:0: " in capsys.readouterr().err


IDLE = """
import asyncio, os, sys
from cli import reach, service

class Idle:
    async def connect(self): ...
    async def start(self): ...
    def ready(self): return ""
    async def stop(self): ...

reach.brokers_at = lambda host, port: {1} if host == "two" and os.path.exists(sys.argv[2]) else set()

async def main():
    idle = Idle()
    idle.failed = asyncio.get_running_loop().create_future()
    return await service.serve(idle, "worker", ("127.0.0.1", int(sys.argv[1])), "one:9092,two")

raise SystemExit(asyncio.run(main()))
"""


def test_it_is_ready_only_while_kafka_answers(tmp_path: Path) -> None:
    port, answers = free_port(), tmp_path / "answers"

    def ask() -> tuple[int, str]:
        answer = httpx.get(f"http://{LOOPBACK}:{port}/ready", timeout=30)
        return answer.status_code, answer.json().get("detail", "")

    with subprocess.Popen([sys.executable, "-c", IDLE, str(port), str(answers)]) as process:
        try:
            until(lambda: not is_free(port), 30)
            assert ask() == (503, "Kafka is not reachable")
            answers.touch()
            assert ask() == (200, "")
            answers.unlink()
            assert ask() == (503, "Kafka is not reachable")
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
