"""Failing on purpose, for the fault tests: only in a process that was started with ``--faults``.

POST /_fault takes one fault or a list, GET shows those that are left, DELETE takes all away. A fault, all optional:

    {"kind": "insert" | "query" | "any",  "table": regex on the statement,  "times": how often, without it always,
     "when": "before" | "after" the statement is executed,  "delay": seconds,
     "hold": true to wait until the faults are taken away,
     "code": ClickHouse's error code to answer with,  "drop": true to cut the connection instead of answering}

``{"refuse": seconds}`` closes the port and every connection for so long.
"""

import asyncio
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

KINDS, MOMENTS = ("insert", "query", "any"), ("before", "after")


@dataclass
class Fault:
    """One thing that goes wrong. Raises ValueError where it makes no sense."""

    kind: str = "any"
    table: str = ""
    times: int | None = None
    when: str = "before"
    delay: float = 0.0
    hold: bool = False
    code: int | None = None
    drop: bool = False

    def __post_init__(self) -> None:
        if self.kind not in KINDS or self.when not in MOMENTS:
            raise ValueError(f"kind is one of {KINDS}, when one of {MOMENTS}")
        try:
            re.compile(self.table)
        except re.error as error:
            raise ValueError(f"table is no regular expression: {error}") from None

    def strikes(self, kind: str, statement: str, when: str) -> bool:
        """Whether it applies; counted."""
        if self.when != when or self.kind not in (kind, "any") or self.times == 0:
            return False
        if not re.search(self.table, statement):
            return False
        if self.times is not None:
            self.times -= 1
        return True


class Faults:
    """Those in force, in the order given."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._cleared = asyncio.Event()

    def add(self, given: Any) -> None:
        """One fault or a list, as read from JSON. Raises ValueError, TypeError."""
        faults = [Fault(**fault) for fault in (given if isinstance(given, list) else [given])]
        self._faults += faults

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    async def wait(self, fault: Fault) -> None:
        """For as long as the fault says."""
        cleared = self._cleared
        await asyncio.sleep(fault.delay)
        if fault.hold:
            await cleared.wait()

    def left(self) -> list[dict[str, Any]]:
        """Those that still can strike."""
        return [asdict(fault) for fault in self._faults if fault.times != 0]

    def striking(self, kind: str, statement: str, when: str) -> Iterator[Fault]:
        """Those that apply now."""
        return (fault for fault in self._faults if fault.strikes(kind, statement, when))
