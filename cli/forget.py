"""`sluice forget --player ID`: takes a person out of everything that is stored, and keeps him out.

First every sink learns of it (control.forgotten), so that no later row and no replay brings the person back. Then what
is stored is rewritten: the id gives way to a random pseudonym, so that sums stay what they are, and what else tells who
it was is emptied. Run again, it finishes what was cut off. docs/erasure.md says what is kept, and where for how long.

Exit code: 0 done, 1 where it has to be run again or a server does not answer.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from cli.arguments import seconds, some
from cli.failures import FAILURES, sentence
from cli.keys import known
from cli.reach import require
from runtime.forgotten import Forgotten, Person, publish
from runtime.positions import Positions
from runtime.settings import Settings
from schemas.topics import TOPICS
from sinks.clickhouse import connect
from sinks.forgetting import Forgetting
from sinks.letters import Letters
from sinks.sink import GROUP as SINK

READ_LIMIT = 30.0
POLL = 0.2
NOBODY = ""
"""The tenant of requests and records whose own is not known."""
_TO_SINK = [topic.name for topic in TOPICS if topic.table]


@dataclass
class Report:
    """What was, or with ``dry_run`` would be, done."""

    dry_run: bool
    pseudonyms: dict[str, str] = field(default_factory=dict)
    """By workspace; of a dry run, only of who was forgotten before."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rewritten rows, by table; a row that was stored in several versions counts with each."""
    sinks_know: bool = True
    """Whether every row that a sink had read before is stored, so that none is overlooked."""

    def add(self, table: str, count: int) -> None:
        """Counts rows of a table."""
        name = table.removesuffix("_rows")
        self.rows[name] = self.rows.get(name, 0) + count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--player", required=True, type=some, metavar="ID", help="player_id of the person")
    parser.add_argument("--tenant", type=some, metavar="T", help="in this workspace only (default: in every one)")
    parser.add_argument("--wait", type=seconds, default=60.0, metavar="S", help="for the sinks, seconds (default: 60)")
    parser.add_argument("--dry-run", action="store_true", help="say how many rows there are, do nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(
    settings: Settings, player: str, tenant: str | None = None, wait: float = 60.0, dry_run: bool = False,
    json: bool = False,
) -> int:  # fmt: skip
    """Exit code: 0 done, 1 not, or not for certain."""
    try:
        report = asyncio.run(_run(settings, player, tenant, wait, dry_run))
    except FAILURES as error:
        print(sentence(settings, error), file=sys.stderr)
        return 1
    _show(report, json)
    return 0 if report.sinks_know else 1


async def _run(settings: Settings, player: str, tenant: str | None, wait: float, dry_run: bool) -> Report:
    await require(settings.kafka_address())  # what reads a table waits for a Kafka that is away
    client = await asyncio.to_thread(connect, settings)
    forgotten = Forgotten(settings.kafka_address())
    forgotten.table.start()
    try:
        await forgotten.table.refresh(READ_LIMIT)
        forgetting = await asyncio.to_thread(Forgetting, client)
        tenants = [tenant] if tenant is not None else await _tenants(settings, forgetting)
        persons = {each: forgotten.name(each.encode(), player.encode()) for each in [*tenants, NOBODY]}
        # A dry run has none for who is not forgotten yet: they are random, and the real run takes others.
        named = {
            each: person.pseudonym
            for each, person in persons.items()
            if each != NOBODY and (not dry_run or forgotten.find(each.encode(), player.encode()))
        }
        report = Report(dry_run, named)
        if not dry_run:
            await _tell(settings, persons.values())
            report.sinks_know = await _wait_for_sinks(settings, wait)
        await asyncio.to_thread(_rewrite, client, settings, persons, report)
        return report
    finally:
        await forgotten.table.stop()
        client.close()


async def _tenants(settings: Settings, forgetting: Forgetting) -> list[str]:
    """Every workspace that has rows or keys."""
    keys = {record["tenant"] for record in await known(settings)}
    return sorted(keys | await asyncio.to_thread(forgetting.tenants) - {NOBODY})


async def _tell(settings: Settings, persons: Iterable[Person]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_address(), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await publish(producer, persons)
    finally:
        await producer.stop()


async def _wait_for_sinks(settings: Settings, limit: float) -> bool:
    """Whether what a sink may have begun to store without knowing is stored within ``limit`` seconds.

    A sink reads control.forgotten before it stores a batch, and commits the batch behind that.
    """
    positions = Positions(settings.kafka_address())
    until = time.monotonic() + limit
    try:
        ends = await positions.ends(_TO_SINK)
        while True:
            committed = await positions.committed(SINK)
            if all(committed.get(place, 0) >= end for place, end in ends.items()):
                return True
            if time.monotonic() > until:
                return False
            await asyncio.sleep(POLL)
    finally:
        await positions.close()


def _rewrite(client: Client, settings: Settings, persons: dict[str, Person], report: Report) -> None:
    forgetting = Forgetting(client)
    tenants: Sequence[str] = list(persons)
    alone = Forgotten(settings.kafka_address())  # of these persons only, so that others' rows are not looked at again
    for tenant, person in persons.items():
        alone.add(person)
        change = forgetting.count if report.dry_run else forgetting.rewrite
        for table, count in change(tenant, person).items():
            report.add(table, count)
    report.add("rejections", forgetting.rejections(alone, tenants, report.dry_run))
    letters = forgetting.letters(alone, tenants, report.dry_run)
    report.add("dead_letters", len(letters))
    if not report.dry_run:
        Letters(client).discard(letters, "sluice forget", "its record was erased")


def _show(report: Report, json: bool) -> None:
    if json:
        found: dict[str, Any] = {"dry_run": report.dry_run, "complete": report.sinks_know, "rows": report.rows}
        print(orjson.dumps(found | {"pseudonyms": report.pseudonyms}, option=orjson.OPT_INDENT_2).decode())
        return
    for table, count in sorted(report.rows.items()):
        print(f"{table:<16}{count:>12,}")
    if report.dry_run:
        print("these rows would be rewritten")
    elif report.sinks_know:
        print("rewritten; later rows are stored without the person")
    else:
        print(
            "rewritten, and later rows are stored without the person; but the sink had not stored what it read before:"
        )
        print("once `sluice audit` says that nothing is on its way, run this again")
