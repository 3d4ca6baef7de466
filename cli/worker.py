"""`sluice worker`: the agents of one process, in the foreground, until SIGTERM or SIGINT; then they commit and end."""

import sys

import uvloop

from cli.service import serve
from embedded.place import Claim, PlaceError
from runtime import logs, memory
from runtime.plain import PlainWorker
from runtime.settings import Settings, load
from runtime.worker import Fatal, Worker
from streams.agents import exact_agents
from streams.plain import plain_agents

FLAGS = ("worker_host", "worker_port", "slot", "plain", "accept_loss", "rebuild")
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
    address = (settings.worker_host, settings.worker_port)
    return await serve(Agents(settings), "worker", address, sentences=(Fatal,))


class Agents(Worker):
    """The exact agents, and the plain ones beside them, which do not count for readiness. Raises SettingsError."""

    def __init__(self, settings: Settings) -> None:
        plain = plain_agents(settings)
        super().__init__(exact_agents(settings), settings)
        self._plain = PlainWorker(plain, settings)

    async def start(self) -> None:
        await super().start()
        await self._plain.start()

    async def stop(self) -> None:
        await self._plain.stop()
        await super().stop()


if __name__ == "__main__":
    sys.exit(run(load()))
