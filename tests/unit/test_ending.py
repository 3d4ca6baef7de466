"""The end of aiokafka's clients: it never ends who asks for it, and a table goes on through every failure of theirs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from runtime import table as module
from runtime.ending import end
from runtime.table import Table


class Inner:
    """The client within a client: it holds the connections."""

    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


class Client:
    """A consumer whose Kafka has just gone."""

    def __init__(self, stop: Callable[[], Awaitable[None]], **_: Any) -> None:
        self._client, self.stop = Inner(), stop

    async def start(self) -> None:
        raise KafkaConnectionError("Unable to bootstrap")


async def cancels_its_own() -> None:
    """As aiokafka's fetcher and coordinators do: the task has not begun when it is cancelled and awaited."""
    task = asyncio.get_running_loop().create_task(asyncio.sleep(1))
    task.cancel()
    await task


async def fails() -> None:
    raise KafkaConnectionError("gone")


@pytest.mark.parametrize("stop", [cancels_its_own, fails])
def test_the_end_of_a_client_raises_nothing_and_closes_its_connections(stop: Callable[[], Awaitable[None]]) -> None:
    client = Client(stop)
    asyncio.run(end(client))
    assert client._client.closed


def test_a_table_is_followed_again_whatever_its_clients_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Client] = []

    def connection(_: Table) -> Client:
        made.append(Client(cancels_its_own))
        if len(made) > 2:
            made[-1].start = cancels_its_own  # type: ignore[method-assign]
        return made[-1]

    async def run() -> None:
        table = Table("nowhere", "control.keys", lambda *_: None)
        table.start()
        while len(made) < 9:
            await asyncio.sleep(0.01)
            assert table._task is not None
            assert not table._task.done()
        await table.stop()

    monkeypatch.setattr(module, "RETRY", 0.01)
    monkeypatch.setattr(Table, "_connection", connection)
    asyncio.run(asyncio.wait_for(run(), 60))


def test_a_table_that_is_stopped_ends_both_of_its_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Client] = []

    async def slowly() -> None:
        await asyncio.sleep(0.05)

    def connection(_: Table) -> Client:
        made.append(Client(slowly))
        return made[-1]

    async def run() -> None:
        table = Table("nowhere", "control.keys", lambda *_: None)
        table.start()
        await asyncio.sleep(0.02)
        await table.stop()
        await asyncio.sleep(0.2)

    monkeypatch.setattr(module, "RETRY", 0)
    monkeypatch.setattr(Table, "_connection", connection)
    asyncio.run(run())
    assert [client._client.closed for client in made] == [True, True]
