"""A batch column by column, where its events are alike: most batches have a few shapes, with many events of each.

The events of a shape have the same members in the same order. They are checked, given keys and encoded a column at
a time, by functions that take a whole column: most of what an event costs are calls (docs/performance/gateway.md).

Nothing is refused here. What is not plainly right raises ValueError, and the batch is read event by event, where every
fault is named. Both ways lead to the same bytes (tests/property/test_columns.py).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, overload

from gateway.dialects.base import Event
from schemas.registry import EVENT

Column = Sequence[Any]
Members = Mapping[str, Column]
"""By name what each event of a shape has in that member."""
ReadAll = Callable[[Members, int], tuple[dict[str, Column], Members]]
"""From the events of a shape and the time of receipt to canonical columns and properties, as a dialect's ``read`` has
them. Raises ValueError where anything is not plainly right."""

ENOUGH = 8
"""Events of a shape, on average, from which on columns save time."""


def texts(column: Column) -> Column:
    """The column, where it has texts alone and none is empty. Raises ValueError."""
    if set(map(type, column)) != {str} or not all(column):
        raise ValueError("not all are texts")
    return column


def objects(column: Column) -> Column:
    """The column, where it has objects alone. Raises ValueError."""
    if set(map(type, column)) != {dict}:
        raise ValueError("not all are objects")
    return column


def members(values: Sequence[dict[str, Any]]) -> Members:
    """The members of objects of one shape."""
    return dict(zip(values[0], zip(*map(dict.values, values), strict=True), strict=True))


def shapes(values: Sequence[Any], within: str | None) -> list[Sequence[int]]:
    """The places of the events of each shape, to which the members of the member ``within`` belong as well.

    Raises ValueError where there are too many shapes, or an event is no object.
    """
    names: list[Any] = list(map(tuple, objects(values)))
    if within is not None:
        inner = objects([value.get(within) for value in values])
        names = list(zip(names, map(tuple, inner), strict=True))
    if names.count(names[0]) == len(names):
        return [range(len(names))]
    found: dict[Any, list[int]] = {}
    for place, shape in enumerate(names):
        found.setdefault(shape, []).append(place)
    if len(found) * ENOUGH > len(values):
        raise ValueError("too many shapes")
    return list(found.values())


class Columns(Sequence[Event]):
    """Canonical events of one request by columns; an event is put together when somebody asks for it."""

    def __init__(self, blank: Event, groups: Sequence[tuple[Sequence[int], dict[str, Column]]], count: int) -> None:
        """``blank``: what all have in common; ``groups``: places of events and their columns that it does not have."""
        self._blank, self._groups, self._count = blank, groups, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Event]:
        return iter(self._in_order(self._events(columns) for _, columns in self._groups))

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> list[Event]: ...
    def __getitem__(self, at: int | slice) -> Event | list[Event]:
        return list(self)[at]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def column(self, name: str) -> Column:
        """A field of every event."""
        return self._in_order(columns.get(name) or repeat(self._blank[name]) for _, columns in self._groups)

    def records(self) -> tuple[Column, Column, Column, Column]:
        """Of every event: dedup key, id, time of receipt and Avro record."""
        encoded = self._in_order(_encode(self._blank, columns) for _, columns in self._groups)
        return self.column("dedup_key"), self.column("event_id"), self.column("received_at"), encoded

    def _events(self, columns: dict[str, Column]) -> Iterator[Event]:
        for row in zip(*columns.values(), strict=True):
            yield {**self._blank, **dict(zip(columns, row, strict=True))}

    def _in_order(self, parts: Iterable[Iterable[Any]]) -> Column:
        if len(self._groups) == 1:
            return list(islice(next(iter(parts)), self._count))
        out = [None] * self._count
        for (places, _), part in zip(self._groups, parts, strict=True):
            for place, item in zip(places, part, strict=False):
                out[place] = item
        return out


def column(events: Sequence[Event], name: str) -> Column:
    """A field of every event, however they are kept."""
    return events.column(name) if isinstance(events, Columns) else [event[name] for event in events]


_NAMES = [field["name"] for field in EVENT.latest.schema["fields"]]


def _encode(blank: Event, columns: dict[str, Column]) -> list[bytes]:
    rows = zip(*(columns.get(name) or repeat(blank[name]) for name in _NAMES), strict=False)
    return list(map(EVENT.encode, rows))
