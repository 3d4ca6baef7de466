"""/health, /ready and /metrics of a role that serves nothing else over HTTP: worker and sink."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from runtime import metrics


class Monitor:
    """A small HTTP server. ``ready`` says in an empty text that the role is ready, else why it is not."""

    def __init__(self, host: str, port: int, ready: Callable[[], Awaitable[str]]) -> None:
        self._host, self._wanted, self._ready = host, port, ready
        self._runner: web.AppRunner | None = None
        self.port = port
        """Where it listens once started; chosen by the system if 0 was asked for."""

    async def start(self) -> None:
        """Listens. Raises OSError where the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ready", self._answer_ready),
                web.get("/metrics", self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._wanted).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Closes the port."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _answer_ready(self, _: web.Request) -> web.Response:
        reason = await self._ready()
        if reason:
            return web.json_response({"status": "not ready", "detail": reason}, status=503)
        return web.json_response({"status": "ready"})

    async def _metrics(self, _: web.Request) -> web.Response:
        content_type, body = metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})
