"""`sluice trace ID`: where an event is, by event_id, idempotency key or transaction_id, and why it went no further.

Exit code: 0 where something bears the id, 1 where nothing does.
"""

import argparse
import asyncio
import sys
from typing import Any

import orjson
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError

from cli.arguments import some
from cli.topics import unreachable
from runtime.settings import Settings
from sinks.clickhouse import Refused, Unreachable, connect
from sinks.trace import Step, Tracer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("id", metavar="ID", type=some, help="event_id, idempotency key or transaction_id")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(settings: Settings, id: str, json: bool = False) -> int:
    """Exit code: 0 found, 1 not found or not to be found out."""
    try:
        steps = asyncio.run(_run(settings, id))
    except (Unreachable, Refused) as error:
        print(error, file=sys.stderr)
        return 1
    except KafkaError as error:
        print(unreachable(settings, error), file=sys.stderr)
        return 1
    except ClickHouseError as error:
        print(f"ClickHouse at {settings.clickhouse_url()} cannot answer: {error}", file=sys.stderr)
        return 1
    if json:
        found = [{"stage": step.stage, "what": step.what, "row": step.row} for step in steps]
        print(orjson.dumps({"id": id, "steps": found}, default=str, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(id, steps)
    return 0 if steps else 1


async def _run(settings: Settings, wanted: str) -> list[Step]:
    client = await asyncio.to_thread(connect, settings)
    tracer = Tracer(settings, client)
    try:
        return await tracer.run(wanted)
    finally:
        await tracer.close()
        client.close()


def _show(wanted: str, steps: list[Step]) -> None:
    if not steps:
        print(f"nothing bears the id {wanted}: it was never accepted, or not under this id")
    for step in steps:
        print(f"{step.stage}: {step.what}")
        for name, value in step.row.items():
            if value is not None:
                print(f"    {name:<24}{_text(value)}")


def _text(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)
