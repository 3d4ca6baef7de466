"""Realistic traffic of all five dialects, told from a seed: players who come by ads, register, pay in and play, with
settlements that come later, retries, late and out-of-order events, double reports, conflicts and invalid requests.

Hours of play are told in the time of the demo. Each run has tenants of its own, so that what analysts should find,
printed at the end, can be compared with the tables exactly.

Exit code: 0 where the gateway answered everything as it should, 1 where not.
"""

import argparse
import asyncio
import json as as_json
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson
from aiokafka.errors import KafkaError

from cli.arguments import positive
from cli.demo import vendors
from cli.demo.books import Books
from cli.demo.drive import Drive
from cli.demo.report import Report
from cli.demo.story import Story, cast
from cli.demo.traffic import Traffic
from cli.keys import borrowed
from cli.posting import NoGateway, Poster, Request, address_of
from cli.send import as_line
from cli.topics import unreachable
from runtime.settings import Settings

FLAGS = ("gateway_host", "gateway_port")
CONNECTIONS, TRIES = 64, 12
LONGEST = 12 * 3600.0
EARLIER = 1.5
"""The story begins so many times its length ago: whatever chance does, it ends before now."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("--rate", type=_rate, default=200.0, metavar="N", help="new events per second (default: 200)")
    parser.add_argument("--seconds", type=_seconds, default=10.0, metavar="S", help="how long (default: 10)")
    parser.add_argument("--seed", default="1", help="any text: the same one tells the same story (default: 1)")
    parser.add_argument("--tenants", type=positive, default=1, metavar="N", help="tenants that share the rate")
    parser.add_argument("--record", type=Path, metavar="FILE", help="write the requests for `sluice send` (one tenant)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _rate(text: str) -> float:
    return _number(text, 1_000_000)


def _seconds(text: str) -> float:
    return _number(text, LONGEST)


def _number(text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0 and up to {most:g}")
    return number


def run(settings: Settings, json: bool = False, **options: Any) -> int:
    """Exit code as above; 2 for wrong usage."""
    if options["record"] is not None and options["tenants"] > 1:
        print("A recording is of one tenant: --record and --tenants exclude each other.", file=sys.stderr)
        return 2
    try:
        report = asyncio.run(Demo(settings, **options).run())
    except NoGateway as error:
        print(error, file=sys.stderr)
        return 1
    except KafkaError as error:
        print(unreachable(settings, error), file=sys.stderr)
        return 1
    except OSError as error:
        print(error, file=sys.stderr)
        return 2
    print(as_json.dumps(report.as_json()) if json else report.text())
    return int(report.counts.unexpected > 0)


class Demo:
    """One run."""

    def __init__(
        self, settings: Settings, rate: float, seconds: float, seed: str, tenants: int, record: Path | None
    ) -> None:
        self._settings, self._seed, self._record = settings, seed, record
        self._rate, self._seconds = rate, seconds
        name = f"demo-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        self._tenants = [name] if tenants == 1 else [f"{name}-{n + 1}" for n in range(tenants)]
        self._total = max(1, round(rate * seconds / tenants))
        """New events of each tenant."""

    async def run(self) -> Report:
        """Sends everything and says what should be found. Raises NoGateway, KafkaError, OSError."""
        async with AsyncExitStack() as stack:
            record = None if self._record is None else stack.enter_context(self._record.open("wb"))
            poster = await stack.enter_async_context(Poster(address_of(self._settings), CONNECTIONS, TRIES))
            keys = [await stack.enter_async_context(borrowed(self._settings, name)) for name in self._tenants]
            traffic = []
            for name, key in zip(self._tenants, keys, strict=True):
                await poster.await_key(key)
                requests = self._registrations()
                if record is not None:
                    record.writelines(map(as_line, requests))
                traffic.append(self._traffic(name, await _register(poster, key, requests)))
            drive = Drive(poster, traffic, keys, record)
            _on_interrupt(drive)
            await drive.run(self._total, self._rate)
        books = {name: one.books for name, one in zip(self._tenants, traffic, strict=True)}
        return Report(self._seed, self._rate, self._seconds, books, drive.counts, self._record)

    def _traffic(self, tenant: str, registered: dict[str, str]) -> Traffic:
        settings = self._settings
        lateness = round(settings.lateness * 1000)
        seats, span = cast(self._total, lateness)
        begin = int((time.time() - EARLIER * span) * 1000)
        seed = f"{self._seed}/{self._tenants.index(tenant)}"
        story = Story(seed, begin, seats, lateness, registered)
        return Traffic(story, Books(round(settings.session_gap * 1000)), seed)

    def _registrations(self) -> list[Request]:
        headers = {"Content-Type": "application/json", "X-Campaign-ID": vendors.CAMPAIGN}
        bodies = [{"name": name, "description": text} for name, text in vendors.METRICS.items()]
        return [Request("POST", "/events", headers, orjson.dumps(body)) for body in bodies]


def _on_interrupt(drive: Drive) -> None:
    """The first Ctrl-C ends the story in good order, the second the process."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        loop.remove_signal_handler(signal.SIGINT)
        drive.stop()

    loop.add_signal_handler(signal.SIGINT, stop)


async def _register(poster: Poster, key: str, requests: list[Request]) -> dict[str, str]:
    """Absinthe's event ids by name. Raises NoGateway."""
    found = {}
    for request in requests:
        reply = await poster.post(request, key)
        if not reply.ok:
            raise NoGateway(f"POST /events is answered {reply.status}: {reply.body.decode(errors='replace')[:200]}")
        answer = orjson.loads(reply.body)
        found[answer["name"]] = answer["event_id"]
    return found
