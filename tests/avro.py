"""Random values of Avro schemas."""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


def values(schema: Any, special: Callable[[Any], Strategy | None] = lambda _: None) -> Strategy:
    """Any values of a schema or a field, or what ``special`` gives for it or for one within."""
    found = special(schema)
    if found is not None:
        return found
    match schema:
        case ["null", inner]:
            return st.none() | values(inner, special)
        case {"type": "fixed", "size": size}:
            return st.binary(min_size=size, max_size=size)
        case {"type": "array", "items": inner}:
            return st.lists(values(inner, special), max_size=4)
        case {"type": "map", "values": inner}:
            return st.dictionaries(TEXT, values(inner, special), max_size=4)
        case {"type": "record", "fields": fields}:
            return st.fixed_dictionaries({field["name"]: values(field, special) for field in fields})
        case {"type": inner}:
            return values(inner, special)
        case "string":
            return TEXT
        case "bytes":
            return st.binary(max_size=200)
        case "boolean":
            return st.booleans()
        case "int":
            return st.integers(-(2**31), 2**31 - 1)
        case "long":
            return st.integers(-(2**63), 2**63 - 1)
    raise AssertionError(schema)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The int at ``at`` and the position behind it. Raises IndexError past the end."""
    shift = raw = 0
    while True:
        raw |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
