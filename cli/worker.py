"""`sluice worker`: the agents of one process, in the foreground, until SIGTERM or SIGINT; then they commit and end."""

import sys

import uvloop

from cli.service import serve
from cli.slot import alone_in
from runtime import logs, memory
from runtime.app import Crashed
from runtime.plain import PlainWorker
from runtime.settings import Settings, SettingsError, load
from runtime.worker import Fatal, Worker
from streams.agents import exact_agents
from streams.plain import plain_agents

FLAGS = ("worker_host", "worker_port", "slot", "plain", "accept_loss", "rebuild")


def run(settings: Settings) -> int:
    """Exit code: 0 after an orderly end, 1 where a person or a new start must help, 2 where it cannot listen."""
    logs.configure(settings.log_level, settings.log_format)
    memory.settle(memory.BATCHES)
    with alone_in(settings.data_dir / "state" / f"worker-{settings.slot}", "worker"):
        return uvloop.run(_run(settings))


async def _run(settings: Settings) -> int:
    address = (settings.worker_host, settings.worker_port)
    return await serve(Agents(settings), "worker", address, settings.kafka_address(), sentences=(Fatal, Crashed))


class Agents(Worker):
    """The exact agents, and the plain ones beside them, which do not count for readiness. Raises SettingsError."""

    def __init__(self, settings: Settings) -> None:
        plain, exact = plain_agents(settings), exact_agents(settings)
        names = [agent.name for agent in exact]
        if settings.rebuild not in (None, *names):
            sentence = f"there is no agent {settings.rebuild!r}; there are {', '.join(names)}"
            raise SettingsError(f"rebuild / SLUICE_REBUILD: {sentence}")
        super().__init__(exact, settings)
        self._plain = PlainWorker(plain, settings)

    async def start(self) -> None:
        await super().start()
        await self._plain.start()

    async def stop(self) -> None:
        await self._plain.stop()
        await super().stop()


if __name__ == "__main__":
    sys.exit(run(load()))
