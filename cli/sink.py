"""`sluice sink`: from Kafka into ClickHouse, in the foreground, until SIGTERM or SIGINT; then it stores and commits."""

import asyncio
import logging
import signal
import sys

import uvloop

from runtime import logs, memory
from runtime.kafka import RETRIABLE
from runtime.monitor import Monitor
from runtime.producer import SendFailed
from runtime.settings import Settings, load
from sinks.clickhouse import Refused, Unreachable
from sinks.feed import MissingTable
from sinks.sink import Sink
from sinks.writer import Stop

log = logging.getLogger("sluice.sink")

FLAGS = ("sink_port", "accept_loss")
SENTENCES = (Refused, MissingTable, Stop)
"""Errors whose text tells a person what to mend."""


def run(settings: Settings) -> int:
    """Exit code: 0 after an orderly end, 1 where only a person can mend what is wrong."""
    logs.configure(settings.log_level, settings.log_format)
    memory.settle()
    return uvloop.run(_run(settings))


async def _run(settings: Settings) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    sink = Sink(settings)

    async def ready() -> str:
        return "stopping" if stopping.is_set() else sink.ready()

    monitor = Monitor(settings.worker_host, settings.sink_port, ready)
    await monitor.start()
    log.info("listening", extra={"port": monitor.port})
    try:
        if await _started(sink, stopping):
            sink.failed.add_done_callback(lambda _: stopping.set())
            await stopping.wait()
        return _outcome(sink)
    except SENTENCES as error:
        print(f"sluice sink: {error}", file=sys.stderr)
        return 1
    finally:
        await sink.stop()
        await monitor.stop()


async def _started(sink: Sink, stopping: asyncio.Event) -> bool:
    """Starts the sink, waiting for Kafka and ClickHouse for as long as it takes; False if it is to stop meanwhile."""
    backoff = 0.2
    while not stopping.is_set():
        try:
            await sink.connect()
        except (Unreachable, SendFailed, *RETRIABLE) as error:
            log.warning("waiting for Kafka and ClickHouse", extra={"reason": repr(error)})
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, 5)
        else:
            await sink.start()
            return True
    return False


def _outcome(sink: Sink) -> int:
    if not sink.failed.done():
        return 0
    error = sink.failed.exception()
    if isinstance(error, SENTENCES):
        print(f"sluice sink: {error}", file=sys.stderr)
    else:
        log.critical("a defect of the sink", exc_info=error)
    return 1


if __name__ == "__main__":
    sys.exit(run(load()))
