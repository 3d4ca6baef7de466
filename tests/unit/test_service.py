"""How a worker and a sink end, whatever they are at."""

import signal
import subprocess
import sys

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
