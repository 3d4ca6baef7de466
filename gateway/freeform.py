"""The free-form part of an event: columns are taken from it where they are fit, everything else stays as it was sent.

gamerebellion's payload, scrip's event_data and adwize's data have no declared fields. What breaks a rule there (type,
digits, range, future) stays among the properties and leaves its column null; it is never a fault (spec/dialects.md).
"""

from collections.abc import Callable, Iterable
from typing import Any

from gateway import values
from gateway.columns import Column, Members, texts

Read = Callable[[Any], Any]

_READERS: dict[str, Read] = {
    "amount": values.amount_bytes,
    "bet_result_amount": values.amount_bytes,
    "bet_result": values.bet_result,
    "is_crypto": values.boolean,
    "event_time": values.any_time,
}
"""Of the columns that are no texts."""

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
        self._plan: dict[str, tuple[str, Read]] = {
            name: (column, _READERS.get(column, values.text))
            for column, choices in (names | sources).items()
            for name in choices
        }
        self._places = {name: place for place, name in enumerate(self._plan)}

    def take(self, container: dict[str, Any], columns: dict[str, Any], received_at: int) -> dict[str, Any]:
        """Fills the ``columns`` that are not filled yet; returns what is left. The container is not changed."""
        plan, text = self._plan, values.text
        rest: dict[str, Any] = {}
        taken: dict[str, Any] = {}
        try:
            for name, item in container.items():
                step = plan.get(name)
                if step is None or step[0] in columns:
                    rest[name] = item
                    continue
                column, read = step
                if column in taken:
                    return self._choose(container, columns, received_at)
                taken[column] = item if read is text and type(item) is str and item else read(item)
        except ValueError:
            return self._choose(container, columns, received_at)
        if "event_time" in taken and values.ahead(taken["event_time"], received_at):
            return self._choose(container, columns, received_at)
        columns.update(taken)
        return rest

    def columns(self, members: Members, columns: dict[str, Column], received_at: int) -> dict[str, Column]:
        """`take` for the free-form parts of many events, all of one shape.

        Raises ValueError where a member is unfit for its column, or several would fill one.
        """
        rest: dict[str, Column] = {}
        taken: dict[str, Column] = {}
        for name, column in members.items():
            step = self._plan.get(name)
            if step is None or step[0] in columns:
                rest[name] = column
            elif step[0] in taken:
                raise ValueError("two members for one column")
            else:
                taken[step[0]] = texts(column) if step[1] is values.text else list(map(step[1], column))
        if "event_time" in taken and values.ahead(max(taken["event_time"]), received_at):
            raise ValueError("too far ahead")
        columns.update(taken)
        return rest

    def _choose(self, container: dict[str, Any], columns: dict[str, Any], received_at: int) -> dict[str, Any]:
        """The same where a member is unfit for its column, or several would fill one."""
        rest = dict(container)
        for name in sorted(container.keys() & self._plan.keys(), key=self._places.__getitem__):
            column, read = self._plan[name]
            if column in columns:
                continue
            try:
                value = read(container[name])
            except ValueError:
                continue
            if column != "event_time" or not values.ahead(value, received_at):
                columns[column] = value
                del rest[name]
        return rest


def first_text(container: dict[str, Any], *names: str) -> str | None:
    """Takes out the first of ``names`` that is a text and not empty."""
    for name in names:
        found = container.get(name)
        if type(found) is str and found:
            del container[name]
            return found
    return None


def beside(found: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """``found`` with what is left of the envelope beside it; where a name is taken, under ``envelope``."""
    collisions = {}
    for name, value in left.items():
        if name in found:
            collisions[name] = value
        else:
            found[name] = value
    if collisions:
        name = "envelope"
        while name in found:
            name = f"_{name}"
        found[name] = collisions
    return found
