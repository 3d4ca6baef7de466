"""What analysts should find of the demo's traffic, kept in step with the story that is told.

Kept by the rules of spec/semantics.md, without the agents: so that the answers of ClickHouse can be compared.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cli.demo.event import Event

FUNNEL = {
    "impression": "impressions",
    "click": "clicks",
    "conversion": "conversions",
    "register": "registrations",
    "signup": "registrations",
}
MONEY = {"deposit": "deposits", "withdraw": "withdrawals"}


@dataclass
class Books:
    """One tenant's. Amounts are exact, by currency."""

    gap: int
    """Milliseconds of pause that begin a new session."""
    events: int = 0
    dialects: Counter[str] = field(default_factory=Counter)
    late: int = 0
    sessions: int = 0
    bets: Counter[str] = field(default_factory=Counter)
    """By status."""
    double_reported: int = 0
    ggr: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    money: dict[str, dict[str, Decimal]] = field(
        default_factory=lambda: {column: defaultdict(Decimal) for column in MONEY.values()}
    )
    funnel: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    replayed: int = 0
    """Repeated events that the gateway itself answers; they make no row."""
    conflicts: int = 0
    rejections: int = 0
    _last: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Time and name of the last event of each player or device."""

    def note(self, event: Event) -> None:
        """An event that is new. Those of a player that are not late come in the order of their times."""
        self.events += 1
        self.dialects[event.dialect] += 1
        if event.name in FUNNEL:
            self.funnel[FUNNEL[event.name]] += 1
        if event.name in MONEY and event.amount is not None:
            self.money[MONEY[event.name]][event.currency] += event.amount
        if event.late:
            self.late += 1
        elif event.identity:
            self._session(event.identity, event.at, event.name)
        if event.wager:
            self._wager(event)

    def _session(self, identity: str, at: int, name: str) -> None:
        before = self._last.get(identity)
        self._last[identity] = at, name
        pause, last = (0, "session_end") if before is None else (at - before[0], before[1])
        begins = name == "session_start" and last != "session_stop"
        self.sessions += begins or pause > self.gap or last == "session_end"

    def _wager(self, event: Event) -> None:
        kind, net = event.wager, event.net
        if kind == "orphaned":
            self.bets["orphaned"] += 1
        elif kind == "double":
            self.double_reported += 1
        elif net is None:
            self.bets["open"] += 1
        else:
            self.bets["open"] -= kind == "settled"
            self.bets["won" if event.won else "lost"] += 1
            self.ggr[event.currency] -= net

    def as_json(self) -> dict[str, Any]:
        """For --json; amounts are texts."""
        return {
            "events": self.events,
            "by_dialect": dict(sorted(self.dialects.items())),
            "late": self.late,
            "duplicates": self.duplicates,
            "replayed": self.replayed,
            "conflicts": self.conflicts,
            "rejections": self.rejections,
            "sessions": self.sessions,
            "bets": {status: self.bets[status] for status in ("open", "won", "lost", "orphaned")},
            "double_reported": self.double_reported,
            "ggr": _texts(self.ggr),
            **{column: _texts(sums) for column, sums in self.money.items()},
            "funnel": {step: self.funnel[step] for step in dict.fromkeys(FUNNEL.values())},
        }


def _texts(sums: dict[str, Decimal]) -> dict[str, str]:
    return {currency: f"{amount:f}" for currency, amount in sorted(sums.items())}
