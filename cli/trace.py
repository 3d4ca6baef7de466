"""`sluice trace ID`: where an event is, by event_id, idempotency key or transaction_id, and why it went no further.

Exit code: 0 where something bears the id, 1 where nothing does. 1 also where Kafka or ClickHouse does not answer, which
is said; what the other one knows is shown.
"""

import argparse
import asyncio
import sys
from contextlib import closing
from typing import Any

import orjson

from cli.arguments import some
from cli.failures import FAILURES, sentence
from cli.reach import require
from runtime.settings import Settings
from sinks.clickhouse import connect
from sinks.trace import Step, Stored, UnderWay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("id", metavar="ID", type=some, help="event_id, idempotency key or transaction_id")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(settings: Settings, id: str, json: bool = False) -> int:
    """Exit code: 0 found, 1 not found, or a server does not answer."""
    steps, faults = asyncio.run(_run(settings, id))
    if json:
        rows = [{"stage": step.stage, "what": step.what, "row": step.row} for step in steps]
        found = {"id": id, "complete": not faults, "steps": rows}
        print(orjson.dumps(found, default=str, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(id, steps, complete=not faults)
    for fault in faults:
        print(fault, file=sys.stderr)
    return 0 if steps and not faults else 1


async def _run(settings: Settings, wanted: str) -> tuple[list[Step], list[str]]:
    """The steps, in the order of the way, and what is wrong with a server: what the other one knows is told."""
    steps: list[Step] = []
    faults = []
    try:
        await _under_way(settings, wanted, steps)
    except FAILURES as error:
        faults.append(sentence(settings, error))
    try:
        await asyncio.to_thread(_stored, settings, wanted, steps)
    except FAILURES as error:
        faults.append(sentence(settings, error))
    return steps, faults


async def _under_way(settings: Settings, wanted: str, steps: list[Step]) -> None:
    await require(settings.kafka_address())
    kafka = UnderWay(settings)
    try:
        async for step in kafka.steps(wanted):
            steps.append(step)  # noqa: PERF401 - what comes before an error counts
    finally:
        await kafka.close()


def _stored(settings: Settings, wanted: str, steps: list[Step]) -> None:
    with closing(connect(settings)) as client:
        steps.extend(Stored(client).steps(wanted))


def _show(wanted: str, steps: list[Step], complete: bool) -> None:
    if not steps and complete:
        print(f"nothing bears the id {wanted}: it was never accepted, or not under this id")
    for step in steps:
        print(f"{step.stage}: {step.what}")
        for name, value in step.row.items():
            if value is not None:
                print(f"    {name:<24}{_text(value)}")


def _text(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)
