"""Posts recorded requests to the running gateway, in their order.

FILE has a JSON object on each line: method (default POST), path, headers, and as body a text that is sent as it is, any
other JSON value, or base64 for bytes. A record without an X-API-Key gets the one given, else a key of the tenant that
is made for this run.

A request is tried again while it is in doubt whether it arrived: a retry of events that have no key of their own (no
transaction_id, no Idempotency-Key) may count twice.

Exit code: 0 where every request was accepted, 1 where one was refused or failed, 2 where the file is not as said.
"""

import argparse
import asyncio
import base64
import json as as_json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiokafka.errors import KafkaError

from cli.arguments import positive, printable
from cli.keys import DEMO, borrowed, tenant
from cli.posting import NoGateway, Poster, Reply, Request, address_of
from cli.topics import unreachable
from runtime.progress import Progress
from runtime.settings import Settings
from runtime.words import counted

FLAGS = ("gateway_host", "gateway_port")
MEMBERS = frozenset(("method", "path", "headers", "body", "base64"))
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
NOTED, SHOWN = 1000, 10
"""Requests that were not accepted: kept for --json, printed for people."""


class BadRecord(ValueError):  # noqa: N818
    """A line that is no request; the message says which and why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("file", metavar="FILE", type=Path, help="requests as JSON lines")
    parser.add_argument("--key", type=printable, help="API key for records that have none")
    parser.add_argument("--tenant", type=tenant, default=DEMO, help=f"or the tenant to make one for (default: {DEMO})")
    parser.add_argument(
        "--concurrency", type=positive, default=1, metavar="N", help="requests under way at once; 1 keeps the order"
    )
    parser.add_argument("--tries", type=positive, default=10, metavar="N", help="of each request (default: 10)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


@dataclass(frozen=True)
class Job:
    """The options, as above."""

    file: Path
    key: str | None
    tenant: str
    concurrency: int
    tries: int


def run(settings: Settings, json: bool = False, **options: Any) -> int:
    """Exit code as above."""
    job, outcome = Job(**options), Outcome()
    try:
        total, keyless = _check(job.file)
        asyncio.run(_run(settings, job, total, keyless, outcome))
    except (BadRecord, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except NoGateway as error:
        print(error, file=sys.stderr)
        return 1
    except KafkaError as error:
        print(unreachable(settings, error), file=sys.stderr)
        return 1
    if json:
        print(as_json.dumps(outcome.as_json()))
    else:
        outcome.show()
    return int(outcome.accepted != outcome.sent)


@dataclass
class Outcome:
    """What became of the requests."""

    sent: int = 0
    accepted: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    retried: int = 0
    """Requests that took more than one try."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, line: int, request: Request, reply: Reply) -> None:
        """One more."""
        self.sent += 1
        self.accepted += reply.ok
        self.statuses[str(reply.status or "no answer")] += 1
        self.retried += reply.tries > 1
        if not reply.ok and len(self.failures) < NOTED:
            detail = reply.body.decode(errors="replace")[:300]
            where = f"{request.method} {request.path}"
            self.failures.append({"line": line, "request": where, "status": reply.status, "detail": detail})

    def as_json(self) -> dict[str, Any]:
        """As --json prints it."""
        numbers = {"sent": self.sent, "accepted": self.accepted, "retried": self.retried}
        return {**numbers, "seconds": round(self.seconds, 3), "statuses": self.statuses, "failures": self.failures}

    def show(self) -> None:
        """For people."""
        for failure in self.failures[:SHOWN]:
            status = failure["status"] or "no answer"
            print(f"line {failure['line']}: {failure['request']} {status}: {failure['detail']}", file=sys.stderr)
        more = self.sent - self.accepted - SHOWN
        if more > 0:
            print(f"... and {more:,} more that were not accepted", file=sys.stderr)
        for status, count in sorted(self.statuses.items()):
            print(f"{status:<10}{count:>10,}")
        sent = counted(self.sent, "request")
        print(f"{self.accepted:,} of {sent} accepted in {self.seconds:.1f} s, {self.retried:,} retried")


async def _run(settings: Settings, job: Job, total: int, keyless: bool, outcome: Outcome) -> None:
    """Posts everything; a key is made where one is needed and none given."""
    async with AsyncExitStack() as stack:
        poster = await stack.enter_async_context(Poster(address_of(settings), job.concurrency, job.tries))
        key = job.key
        if key is None and keyless:
            key = await stack.enter_async_context(borrowed(settings, job.tenant))
            await poster.await_key(key)
        shown = Progress("Sending", total) if sys.stderr.isatty() else None
        records = enumerate(_requests(job.file), 1)
        began = time.monotonic()

        async def work() -> None:
            for line, request in records:  # shared: each takes the next
                outcome.add(line, request, await poster.post(request, key))
                if shown is not None:
                    shown.advance()

        with shown or nullcontext():
            async with asyncio.TaskGroup() as group:
                for _ in range(job.concurrency):
                    group.create_task(work())
        outcome.seconds = time.monotonic() - began


def _check(file: Path) -> tuple[int, bool]:
    """How many requests there are, and whether one has no key. Raises BadRecord before anything is sent."""
    total, keyless = 0, False
    for request in _requests(file):
        total += 1
        keyless |= "x-api-key" not in map(str.lower, request.headers)
    return total, keyless


def _requests(file: Path) -> Iterator[Request]:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield parse(line)
            except ValueError as error:
                raise BadRecord(f"{file}, line {number}: {error}") from None


def parse(line: bytes) -> Request:
    """A recorded request. Raises ValueError."""
    # orjson writes fragments as they are: the digits of a number stay those of the file
    record = as_json.loads(line, parse_float=orjson.Fragment, parse_int=orjson.Fragment)
    if not isinstance(record, dict) or not isinstance(record.get("path"), str) or not record["path"].startswith("/"):
        raise ValueError("a request is an object with a path that begins with /")
    if unknown := record.keys() - MEMBERS:
        raise ValueError(f"a request has no {', '.join(sorted(unknown))}; it may have {', '.join(sorted(MEMBERS))}")
    headers, method = record.get("headers", {}), record.get("method", "POST")
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError("headers are an object of texts")
    if any(map(_UNSENDABLE.search, (record["path"], *headers, *headers.values()))):
        raise ValueError("path and headers have no control characters and no half surrogates")
    if not isinstance(method, str) or not method.isascii() or not method.isalpha():
        raise ValueError("a method is a word")
    return Request(method.upper(), record["path"], headers, _body(record))


def _body(record: dict[str, Any]) -> bytes:
    if "base64" in record:
        if "body" in record:
            raise ValueError("body and base64 exclude each other")
        return base64.b64decode(record["base64"], validate=True)
    body = record.get("body")
    if body is None:
        return b""
    return body.encode() if isinstance(body, str) else orjson.dumps(body)


def as_line(request: Request) -> bytes:
    """A request as a line of such a file."""
    record: dict[str, Any] = {"method": request.method, "path": request.path, "headers": request.headers}
    try:
        record["body"] = request.body.decode()
    except UnicodeDecodeError:
        record["base64"] = base64.b64encode(request.body).decode()
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
