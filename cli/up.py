"""Starts Kafka, ClickHouse, gateway, workers and sink under one supervisor, in the foreground until Ctrl-C.

What dies is started again. Everything is kept in the data folder. With --kafka or --clickhouse an outside server is
used in place of the embedded one.
"""

import argparse
import asyncio
import functools
import os
import subprocess
import sys
from contextlib import suppress
from typing import TextIO

from aiokafka.errors import KafkaError

from cli import detached, roles, summary
from cli.child import Child, Program
from cli.childlog import ChildLog
from cli.keys import demo_key
from cli.stack import Process, Role, Stack, shareable
from cli.supervisor import Interrupted, StartFailed, Supervisor
from cli.topics import all_topics, unreachable
from embedded.clickhouse import ClickHouse
from embedded.jars import FetchError, fetch
from embedded.kafka import Kafka
from embedded.place import LOOPBACK, Claim, PlaceError, require_port, require_space
from embedded.server import Server, StartError
from runtime.settings import Settings
from runtime.table import TableError
from runtime.topics import Topics, TopicsRefused
from sinks.clickhouse import Refused as AccountRefused
from sinks.clickhouse import Unreachable, connect
from sinks.migrate import MigrationError, Migrator
from sinks.migrationlock import LockLost, LockTimeout

ALONE = True
FLAGS = ("gateway_host", "gateway_port", "kafka_port", "clickhouse_port", "workers", "partitions")
CLAIM_WAIT = 3.0
"""Seconds in which the processes of a stack that was just killed may end."""
READY_LIMIT = 90.0
FAILURES = (
    FetchError, StartError, TopicsRefused, TableError,
    AccountRefused, Unreachable, MigrationError, LockLost, LockTimeout,
)  # fmt: skip
"""Errors whose text tells a person what to mend; exit code 1."""
STOP_ORDER = (("gateway",), ("worker", "sink", "console"), ("clickhouse",), ("kafka",))


class Refused(Exception):  # noqa: N818
    """It cannot start here; the message says why and what to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-d", "--detach", action="store_true", help="return once everything is up; `sluice down` stops it"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="what the roles log goes to their files alone")


def run(settings: Settings, detach: bool = False, quiet: bool = False) -> int:
    """Exit code: 0 after an orderly end, 1 where a part fails, 2 where it cannot start here."""
    settings = settings.model_copy(update={"data_dir": settings.data_dir.absolute()})
    if detach:
        return detached.detach(settings)
    up = Up(settings, quiet)
    code = up.run()
    if up.supervisor.left_behind:
        sys.stdout.flush()
        os._exit(code)
    return code


class Up:
    """One run of the whole stack."""

    def __init__(self, settings: Settings, quiet: bool) -> None:
        self._settings, self._quiet = settings, quiet
        self._stack = Stack(Process.of(os.getpid()), "starting", shareable(settings))
        self.supervisor = Supervisor(self._stack, settings.data_dir, say)

    def run(self) -> int:
        """Returns the exit code once no process is left."""
        self.supervisor.listen()
        try:
            claim = Claim(self._settings.data_dir, CLAIM_WAIT)
        except PlaceError as error:
            say(f"{error} `sluice status` shows what runs there, `sluice down` stops it.")
            return 2
        try:
            code = self._run()
        finally:
            if self.supervisor.children:
                say("Stopping.")
            self.supervisor.stop(STOP_ORDER)
            claim.release()
        return code

    def _run(self) -> int:
        try:
            self._start()
            self.supervisor.watch()
        except Interrupted:
            return 0
        except StartFailed as error:
            say(str(error))
            return error.code
        except (PlaceError, Refused) as error:
            say(str(error))
            return 2
        except FAILURES as error:
            say(str(error))
            return 1
        except KafkaError as error:
            say(unreachable(self._settings, error))
            return 1
        return 0

    def _start(self) -> None:
        self.supervisor.wait_for(self._require_place)
        servers = self._servers()
        self.supervisor.launch(list(servers.values()))
        if "kafka" in servers:
            self.supervisor.await_ready([servers["kafka"]], READY_LIMIT)
        self.supervisor.wait_for(self._make_topics)
        if "clickhouse" in servers:
            self.supervisor.await_ready([servers["clickhouse"]], READY_LIMIT)
        self.supervisor.wait_for(self._migrate)
        children = roles.children(self._settings, self._log)
        self.supervisor.launch(children)
        key = self.supervisor.wait_for(lambda: asyncio.run(demo_key(self._settings)))
        self.supervisor.await_ready(children, READY_LIMIT)
        say(summary.text(self._settings, key))
        self._stack.phase = "up"

    def _require_place(self) -> None:
        settings = self._settings
        require_space(settings.data_dir, settings.least_disk)
        ports = [(settings.gateway_port, "the gateway", "--gateway-port", settings.gateway_host)]
        if settings.kafka is None:
            ports.append((settings.kafka_port, "Kafka", "--kafka-port", LOOPBACK))
        if settings.clickhouse is None:
            ports.append((settings.clickhouse_port, "ClickHouse", "--clickhouse-port", LOOPBACK))
        given: dict[int, str] = {}
        for port, what, option, host in ports:
            if port in given:
                raise PlaceError(f"Port {port} is given to {given[port]} and to {what}: choose another with {option}.")
            given[port] = what
            require_port(port, what, option, host, wait=CLAIM_WAIT)

    def _servers(self) -> dict[str, Child]:
        """The embedded servers, ready to be launched; outside ones are noted as such."""
        settings = self._settings
        found: dict[str, Server] = {}
        if settings.kafka is None:
            self.supervisor.wait_for(functools.partial(fetch, settings.cache_dir))
            folder, cache = settings.data_dir / "kafka", settings.cache_dir
            found["kafka"] = Kafka(folder, settings.kafka_port, heap=settings.kafka_heap, cache=cache)
        else:
            self._stack.roles.append(Role("kafka", "outside", address=settings.kafka))
        if settings.clickhouse is None:
            folder = settings.data_dir / "clickhouse"
            found["clickhouse"] = ClickHouse(folder, settings.clickhouse_port, settings=settings)
        else:
            self._stack.roles.append(Role("clickhouse", "outside", address=settings.clickhouse))
        say(f"Starting in {settings.data_dir}.")
        for server in found.values():
            self.supervisor.wait_for(server.occupy)
        return {role: self._child(role, server) for role, server in found.items()}

    def _child(self, role: str, server: Server) -> Child:
        spawn = functools.partial(server.spawn, subprocess.PIPE)
        log = ChildLog(self._settings.data_dir / "logs" / f"{role}.log")
        return Child(Role(role, address=server.address), Program(spawn, server.is_ready, server.stop_limit), log)

    def _log(self, name: str) -> ChildLog:
        path = self._settings.data_dir / "logs" / f"{name}.log"
        return ChildLog(path, None if self._quiet else lambda line: say(f"{name:<8} | {line}", sys.stderr))

    def _migrate(self) -> None:
        settings = self._settings
        client = connect(settings, database=False)
        try:
            Migrator(client, settings.clickhouse_database, settings.clickhouse_cluster).run(say=say)
        finally:
            client.close()

    def _make_topics(self) -> None:
        topics = Topics(all_topics(self._settings), self._settings)
        differing = [item for item in asyncio.run(topics.ensure()) if item.faults]
        for item in differing:
            say(f"The topic {item.topic.name} {'; '.join(item.faults)}.")
        if any(item.partitions != topics.partitions(item.topic) for item in differing):
            raise Refused("Start with the --partitions that the topics have: their count is fixed for good.")


def say(sentence: str, stream: TextIO | None = None) -> None:
    """A line for whoever listens. If nobody does any more (a closed pipe or terminal), the stack runs on."""
    with suppress(OSError):
        print(sentence, file=stream or sys.stdout, flush=True)
