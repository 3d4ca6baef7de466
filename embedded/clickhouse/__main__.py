"""The process of the embedded ClickHouse: `python -m embedded.clickhouse --folder F --port P [--faults]`.

Ends on SIGTERM: takes no more connections, finishes what runs, closes the engine.
"""

import argparse
import asyncio
import logging
import signal
from pathlib import Path

from aiohttp import web

from embedded.clickhouse.accounts import Account
from embedded.clickhouse.engine import Engine
from embedded.clickhouse.faults import Faults
from embedded.clickhouse.server import Service
from embedded.place import LOOPBACK
from runtime import logs
from runtime.settings import Settings, load

log = logging.getLogger("sluice.clickhouse")

DRAIN = 10.0
"""Seconds that running queries have at SIGTERM before they are cancelled."""
LONGEST_URL = 1024 * 1024


def accounts(settings: Settings) -> dict[str, Account]:
    """The writer's and the analyst's, by name."""
    limits = {
        "max_memory_usage": str(settings.analyst_memory),
        "max_execution_time": str(settings.analyst_seconds),
        "readonly": "1",  # the last: from here on nothing can be changed
    }
    writer = Account(settings.clickhouse_user, settings.clickhouse_password.get_secret_value())
    analyst = Account(settings.analyst_user, settings.analyst_password.get_secret_value(), True, limits)
    return {analyst.name: analyst, writer.name: writer}


class Site:
    """The listening socket, which a fault can close for a while."""

    def __init__(self, service: Service, port: int) -> None:
        self._service, self._port = service, port
        app = web.Application()
        app.router.add_get("/", service.query)
        app.router.add_post("/", service.query)
        app.router.add_get("/ping", ok)
        app.router.add_get("/replicas_status", ok)
        if service.faults is not None:
            app.router.add_route("*", "/_fault", self.fault)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=DRAIN,
            auto_decompress=False,
            max_line_size=LONGEST_URL,
        )
        self._site: web.TCPSite | None = None
        self._chores: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listens. Raises OSError where the port is taken."""
        if self._runner.server is None:
            await self._runner.setup()
        self._site = web.TCPSite(self._runner, LOOPBACK, self._port, reuse_address=True)
        await self._site.start()

    async def close(self) -> None:
        """Stops listening and finishes what runs."""
        await self._runner.cleanup()
        await self._service.close()

    async def fault(self, request: web.Request) -> web.Response:
        """See faults.py."""
        faults = self._service.faults
        assert faults is not None
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "POST":
            given = await request.json()
            if isinstance(given, dict) and "refuse" in given:
                chore = asyncio.create_task(self._refuse(float(given["refuse"])))
                self._chores.add(chore)
                chore.add_done_callback(self._chores.discard)
            else:
                try:
                    faults.add(given)
                except (TypeError, ValueError) as error:
                    return web.json_response({"error": str(error)}, status=400)
        return web.json_response(faults.left())

    async def _refuse(self, seconds: float) -> None:
        assert self._site is not None
        assert self._runner.server is not None
        await asyncio.sleep(0)  # the answer to the fault's own request first
        await self._site.stop()
        for connection in list(self._runner.server.connections):
            if connection.transport is not None:
                connection.transport.abort()
        await asyncio.sleep(seconds)
        await self.open()


async def ok(_: web.Request) -> web.Response:
    """What /ping and /replicas_status say."""
    return web.Response(text="Ok.\n")


async def serve(folder: Path, port: int, settings: Settings, faults: bool) -> None:
    """Serves until SIGTERM or SIGINT."""
    engine = Engine(folder)
    site = Site(Service(engine, accounts(settings), settings.clickhouse_body, Faults() if faults else None), port)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await site.open()
    log.info("ready", extra={"port": port, "version": engine.version, "folder": folder})
    await ended.wait()
    await site.close()
    engine.close()
    log.info("stopped")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m embedded.clickhouse", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--faults", action="store_true", help="POST /_fault makes it fail (tests only)")
    arguments = parser.parse_args()
    settings = load()
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(serve(arguments.folder, arguments.port, settings, arguments.faults))


if __name__ == "__main__":
    main()
