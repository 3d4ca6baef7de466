"""`sluice audit`: what was accepted is stored, a duplicate, a conflict or a dead letter, offset by offset.

Exit code: 0 where it balances; 1 where not, with every difference explained. Events that are still on their way count
as missing: --wait gives them time. Altered are rows that changed since they were inserted, beyond those at offsets that
the log has never had. What follows from events is compared with them once nothing is on its way.
"""

import argparse
import asyncio
import sys
from typing import Any

import orjson

from cli.arguments import seconds
from cli.failures import FAILURES, sentence
from runtime.settings import Settings
from sinks.audit import Balance
from sinks.auditing import Audit
from sinks.clickhouse import connect

SHOWN = 50
"""Differences that are printed for people; --json has all that were listed."""
NUMBERS = ("ingested", "stored", "duplicates", "conflicts", "dead_letters", "missing", "doubled", "altered", "beyond")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--wait", type=seconds, default=0.0, metavar="S", help="try again for so many seconds")
    parser.add_argument("--deep", action="store_true", help="compare every stored event with the log's record")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(settings: Settings, wait: float = 0.0, deep: bool = False, json: bool = False) -> int:
    """Exit code: 0 balanced, 1 not balanced or not to be found out."""
    try:
        balance = asyncio.run(_run(settings, wait, deep))
    except FAILURES as error:
        print(sentence(settings, error), file=sys.stderr)
        return 1
    if json:
        print(orjson.dumps(as_json(balance), option=orjson.OPT_INDENT_2).decode())
    else:
        _show(balance)
    return 0 if balance.balanced else 1


async def _run(settings: Settings, wait: float, deep: bool) -> Balance:
    client = await asyncio.to_thread(connect, settings)
    audit = Audit(settings, client)
    try:
        return await audit.run(wait, deep)
    finally:
        await audit.close()
        client.close()


def as_json(balance: Balance) -> dict[str, Any]:
    """The balance as --json prints it."""
    found: dict[str, Any] = {"balanced": balance.balanced}
    found |= {name: getattr(balance, name) for name in NUMBERS}
    found |= {"later_stages": balance.later, "derived": balance.derived, "waiting": balance.waiting}
    found["accepted_losses"] = balance.accepted_losses
    found["losses"] = [
        {
            "reader": loss.reader,
            "topic": loss.topic,
            "partition": loss.partition,
            "from": loss.start,
            "to": loss.end - 1,
        }
        for loss in balance.losses
    ]
    found["differences"] = [
        {"what": d.what, "partition": d.partition, "from": d.start, "to": d.end, "stage": d.stage}
        for d in balance.differences
    ]
    return found


def _show(balance: Balance) -> None:
    for name in NUMBERS:
        print(f"{name.replace('_', ' '):<13}{getattr(balance, name):>14,}")
    if balance.losses:
        print(f"{'lost, accepted':<14}{balance.accepted_losses:>13,}")
    for loss in balance.losses[:SHOWN]:
        print(loss.line())
    if len(balance.losses) > SHOWN:
        print(f"... and {len(balance.losses) - SHOWN:,} accepted losses more: --json")
    for stage, letters in sorted(balance.later.items()):
        print(f"dead letters of the later stage {stage}: {letters:,}")
    for question, count in (balance.derived or {}).items():
        print(f"{question}: {count:,}")
    if balance.derived is None:
        waiting = "".join(f"; {where}: {count:,}" for where, count in sorted(balance.waiting.items()))
        print(f"bets, sessions and attributions are not compared with the events: records are on their way{waiting}")
    for difference in balance.differences[:SHOWN]:
        print(difference.line())
    if len(balance.differences) > SHOWN:
        print(f"... and {len(balance.differences) - SHOWN:,} more: --json")
    print("balanced" if balance.balanced else "NOT balanced")
