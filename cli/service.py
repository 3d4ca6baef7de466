"""How a worker and a sink run: in the foreground, waiting for what they need, until they fail or are asked to end."""

import asyncio
import errno
import logging
import os
import signal
import sys
import threading
from typing import Any, Protocol

from cli.reach import reachable
from runtime.kafka import RETRIABLE
from runtime.monitor import Monitor
from runtime.producer import SendFailed
from runtime.table import TableError

log = logging.getLogger("sluice.service")

PATIENCE = 25.0
"""Seconds for an orderly end; whoever runs us commonly kills after thirty."""


class Service(Protocol):
    """What is run. ``failed`` gets the error that ends it."""

    failed: asyncio.Future[None]

    async def connect(self) -> None: ...
    async def start(self) -> None: ...
    def ready(self) -> str: ...
    async def stop(self) -> None: ...


async def serve(
    service: Service,
    name: str,
    address: tuple[str, int],
    kafka: str,
    away: tuple[type[Exception], ...] = (),
    sentences: tuple[type[Exception], ...] = (),
) -> int:
    """Runs the service and its monitor at ``address`` until SIGTERM, SIGINT or its failure; returns the exit code.

    It is ready where it says so and ``kafka`` answers: its consumer would wait for that without a word.

    Errors of ``away``, and those of a Kafka that does not answer, are waited out at the start. The text of
    ``sentences`` tells a person what to mend; anything else is a defect of ours. Exit code 2 where it cannot listen.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(code: int) -> None:
        if not stopping.is_set():
            stopping.set()
            _limit(code)  # from now on, since what is under way, a start for one, may take as long as Kafka is away

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)

    async def ready() -> str:
        if stopping.is_set():
            return "stopping"
        return service.ready() or ("" if await reachable(kafka) else "Kafka is not reachable")

    monitor = Monitor(*address, ready)
    try:
        await monitor.start()
    except OSError as error:
        reason = "the port is taken" if error.errno == errno.EADDRINUSE else error.strerror
        print(f"sluice {name}: cannot listen on {':'.join(map(str, address))}: {reason}", file=sys.stderr)
        await service.stop()
        await monitor.stop()
        return 2
    log.info("listening", extra={"port": monitor.port})
    asked = loop.create_task(stopping.wait())
    try:
        connecting = loop.create_task(_connect(service, (*away, SendFailed, TableError, *RETRIABLE)))
        await asyncio.wait({connecting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if connecting.done():
            connecting.result()
            await service.start()
            ends: set[asyncio.Future[Any]] = {service.failed, asked}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        connecting.cancel()
        if service.failed.done():
            service.failed.result()
        code = 0
    except sentences as error:
        print(f"sluice {name}: {error}", file=sys.stderr)
        code = 1
    except Exception:
        log.critical("a defect of the %s", name, exc_info=True)
        code = 1
    end(code)
    await asked
    await service.stop()
    await monitor.stop()
    return code


async def _connect(service: Service, away: tuple[type[Exception], ...]) -> None:
    backoff = 0.2
    while True:
        try:
            return await service.connect()
        except away as error:
            log.warning("waiting for what is away", extra={"reason": repr(error)})
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, 5)


def _limit(code: int) -> None:
    """Bounds what is left of the process's life: what is not committed by then is done again, as after any crash.

    By a thread, since Faust joins its consumer's thread on the event loop, where no timer would be heard meanwhile.
    """

    def give_up() -> None:
        log.warning("ends without having left its group: Kafka did not answer in time")
        os._exit(code)

    limit = threading.Timer(PATIENCE, give_up)
    limit.daemon = True
    limit.start()
