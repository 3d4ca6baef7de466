"""`sluice worker`: the agents of one process, in the foreground, until SIGTERM or SIGINT; then they commit and end."""

import asyncio
import logging
import signal
import sys

import uvloop

from embedded.place import Claim, PlaceError
from runtime import logs, memory
from runtime.kafka import RETRIABLE
from runtime.monitor import Monitor
from runtime.producer import SendFailed
from runtime.settings import Settings, load
from runtime.worker import Fatal, Worker
from streams.agents import exact_agents

log = logging.getLogger("sluice.worker")

FLAGS = ("worker_host", "worker_port", "slot", "accept_loss", "rebuild")
HANDOVER = 10.0
"""Seconds that a new worker waits for the one before it in its slot."""


def run(settings: Settings) -> int:
    """Exit code: 0 after an orderly end, 1 where only a person can mend what is wrong."""
    logs.configure(settings.log_level, settings.log_format)
    memory.settle()
    try:
        slot = Claim(settings.data_dir / "state" / f"worker-{settings.slot}", HANDOVER)
    except PlaceError as error:
        print(f"sluice worker: {error} Give each worker a slot of its own.", file=sys.stderr)
        return 1
    try:
        return uvloop.run(_run(settings))
    finally:
        slot.release()


async def _run(settings: Settings) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    worker = Worker(exact_agents(settings), settings)

    async def ready() -> str:
        return "stopping" if stopping.is_set() else worker.ready()

    monitor = Monitor(settings.worker_host, settings.worker_port, ready)
    await monitor.start()
    try:
        if await _started(worker, stopping):
            worker.failed.add_done_callback(lambda _: stopping.set())
            await stopping.wait()
        return _outcome(worker)
    finally:
        await worker.stop()
        await monitor.stop()


async def _started(worker: Worker, stopping: asyncio.Event) -> bool:
    """Starts the worker, waiting for Kafka for as long as it takes; False if it is to stop meanwhile."""
    backoff = 0.2
    while not stopping.is_set():
        try:
            await worker.connect()
        except (SendFailed, *RETRIABLE) as error:
            log.warning("waiting for Kafka", extra={"reason": repr(error)})
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, 5)
        else:
            await worker.start()
            return True
    return False


def _outcome(worker: Worker) -> int:
    if not worker.failed.done():
        return 0
    error = worker.failed.exception()
    if isinstance(error, Fatal):
        print(f"sluice worker: {error}", file=sys.stderr)
    else:
        log.critical("a defect of the worker", exc_info=error)
    return 1


if __name__ == "__main__":
    sys.exit(run(load()))
