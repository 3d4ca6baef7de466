"""The free-form part of an event: columns are taken from it where they are fit, everything else stays as it was sent.

gamerebellion's payload, scrip's event_data and adwize's data have no declared fields. What breaks a rule there (type,
digits, range, future) stays among the properties and leaves its column null; it is never a fault (spec/dialects.md).
"""

from collections.abc import Callable, Iterable
from typing import Any

from gateway import values

Read = Callable[[Any], Any]

_amount = values.lenient(values.amount_bytes)
_time = values.lenient(values.any_time)
_READERS: dict[str, Read] = {
    "amount": _amount,
    "bet_result_amount": _amount,
    "bet_result": values.lenient(values.bet_result),
    "is_crypto": values.lenient(values.boolean),
    "event_time": _time,
}
_text = values.lenient(values.text)

SAME_NAMES = (
    "transaction_id",
    "parent_transaction_id",
    "amount",
    "currency",
    "is_crypto",
    "bet_result",
    "bet_result_amount",
    "game_type",
    "game_provider",
    "click_id",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "ip_address",
    "user_agent",
)
"""Columns that every free-form part may carry under their own names."""


class FreeForm:
    """Which member of the free-form part feeds which column.

    ``sources``: for a column whose member is called otherwise, the names in order of precedence.
    """

    def __init__(self, **sources: Iterable[str]) -> None:
        names: dict[str, Iterable[str]] = {column: (column,) for column in SAME_NAMES}
        names = {**names, **sources}
        self._plan: list[tuple[str, str, Read]] = [
            (name, column, _READERS.get(column, _text)) for column, choices in names.items() for name in choices
        ]
        self._places = {name: place for place, (name, _, _) in enumerate(self._plan)}

    def take(self, container: dict[str, Any], columns: dict[str, Any], received_at: int) -> dict[str, Any]:
        """Fills the ``columns`` that are not filled yet; returns what is left. The container is not changed."""
        rest = dict(container)
        found = [self._places[name] for name in container if name in self._places]
        found.sort()
        for place in found:
            name, column, read = self._plan[place]
            if column not in columns:
                value = read(rest[name])
                if value is None or (column == "event_time" and values.ahead(value, received_at)):
                    continue
                columns[column] = value
                del rest[name]
        return rest


def first_text(container: dict[str, Any], *names: str) -> str | None:
    """Takes out the first of ``names`` that is a text and not empty."""
    for name in names:
        if _text(container.get(name)) is not None:
            return str(container.pop(name))
    return None


def beside(found: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """``found`` with what is left of the envelope beside it; where a name is taken, under ``envelope``."""
    collisions = {name: value for name, value in left.items() if name in found}
    found.update((name, value) for name, value in left.items() if name not in collisions)
    if collisions:
        name = "envelope"
        while name in found:
            name = f"_{name}"
        found[name] = collisions
    return found
