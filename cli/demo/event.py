"""An event of the demo's story: what happened, and how a client of the vendor says it."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(slots=True)
class Event:
    """One event."""

    dialect: str
    path: str
    """The vendor's route for a single event."""
    name: str
    """Canonical event name."""
    at: int
    """When it happened, milliseconds since the epoch."""
    identity: str
    """Player, else device."""
    body: dict[str, Any]
    campaign: str | None = None
    """X-Campaign-ID, where the vendor has it."""
    late: bool = False
    amount: Decimal | None = None
    currency: str = ""
    wager: str = ""
    """placed, settled, orphaned (a settlement whose bet is never reported) or double (of a bet with its result)."""
    net: Decimal | None = None
    """The player's net result, where this event decides the bet."""
    won: bool = False
