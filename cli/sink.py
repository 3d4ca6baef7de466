"""`sluice sink`: from Kafka into ClickHouse, in the foreground, until SIGTERM or SIGINT; then it stores and commits."""

import sys

import uvloop

from cli.service import serve
from cli.slot import alone_in
from runtime import logs, memory
from runtime.app import Crashed
from runtime.settings import Settings, load
from sinks.clickhouse import Refused, Unreachable
from sinks.feed import MissingTable
from sinks.sink import Sink
from sinks.writer import Stop

FLAGS = ("sink_port", "slot", "accept_loss")


def run(settings: Settings) -> int:
    """Exit code: 0 after an orderly end, 1 where a person or a new start must help, 2 where it cannot listen."""
    logs.configure(settings.log_level, settings.log_format)
    memory.settle(memory.BATCHES)
    with alone_in(settings.data_dir / "faust" / f"sink-{settings.slot}", "sink"):
        return uvloop.run(_run(settings))


async def _run(settings: Settings) -> int:
    address = (settings.worker_host, settings.sink_port)
    sentences = (Refused, MissingTable, Stop, Crashed)
    return await serve(Sink(settings), "sink", address, settings.kafka_address(), (Unreachable,), sentences)


if __name__ == "__main__":
    sys.exit(run(load()))
