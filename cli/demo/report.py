"""The demo's summary: what was sent, and what analysts should find of it."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.demo.books import Books
from cli.demo.drive import Counts
from runtime.words import counted

TOLERANCE = 0.98
"""A rate that reaches so much of what was asked has been kept."""


@dataclass
class Report:
    """One run's."""

    seed: str
    rate: float
    seconds: float
    books: dict[str, Books]
    """By tenant."""
    counts: Counts
    record: Path | None = None

    @property
    def kept(self) -> float:
        """New events per second, while new ones were told."""
        return sum(books.events for books in self.books.values()) / max(self.counts.telling, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """As --json prints it; amounts are texts."""
        counts = self.counts
        return {
            "seed": self.seed,
            "rate": {"asked": self.rate, "kept": round(self.kept, 1)},
            "seconds": round(counts.seconds, 3),
            "requests": counts.requests,
            "statuses": counts.statuses,
            "retried": counts.retried,
            "doubtful_events": counts.doubtful,
            "unexpected": counts.unexpected,
            "surprises": counts.surprises,
            "expected": {tenant: books.as_json() for tenant, books in self.books.items()},
        }

    def text(self) -> str:
        """For people."""
        counts = self.counts
        found = _sum([books.as_json() for books in self.books.values()])
        tenants = "', '".join(self.books)
        slow = self.kept < TOLERANCE * self.rate
        statuses = ", ".join(f"{status} {count:,}×" for status, count in sorted(counts.statuses.items()))
        lines = [
            f"{counted(counts.requests, 'request')} in {counts.seconds:.1f} s: {statuses}",
            f"{self.kept:,.0f} new events/s" + (f" of {self.rate:,.0f} that were asked for" if slow else ""),
            "",
            f"What analysts should find where tenant IN ('{tenants}'):",
            "",
            *(f"  {name:<16}{text}" for name, text in _rows(found)),
        ]
        if counts.doubtful:
            lines += [
                "",
                f"{counted(counts.doubtful, 'event')} sent again in doubt: there may be so many duplicates more.",
            ]
        if counts.unexpected:
            lines += ["", f"{counted(counts.unexpected, 'request')} NOT answered as expected, so this does not hold:"]
            lines += [f"  {surprise}" for surprise in counts.surprises]
        if self.record is not None:
            lines += ["", f"The requests stand in {self.record}: sluice send {self.record} --tenant NAME"]
        return "\n".join(lines)


def _sum(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Several tenants' together."""
    total: dict[str, Any] = {}
    for one in found:
        for name, value in one.items():
            if isinstance(value, dict):
                total[name] = _sum([total.get(name, {}), value])
            elif isinstance(value, str):
                total[name] = f"{Decimal(total.get(name, '0')) + Decimal(value):f}"
            else:
                total[name] = total.get(name, 0) + value
    return total


def _rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values, as people read them."""
    return [(name.replace("_", " "), _value(value)) for name, value in found.items()]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "   ".join(f"{name} {_value(one)}" for name, one in value.items())
    return f"{Decimal(value):,f}"
