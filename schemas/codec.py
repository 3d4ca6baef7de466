"""Avro encoders and decoders of a schema, for the hot path: the schema is taken apart once, here, and native/reader.c
and writer.c follow it for every record.

fastavro is the reference: the tests hold both against each other for every schema (bench/codec.py: a canonical event is
written in a tenth of its time, and five of the fields read in a fortieth).

Read and written are boolean, int, long, string, bytes, fixed, arrays, maps and records of these, and ``["null", one
of these]``. Values are Avro's primitive ones: a timestamp is an int of milliseconds, a decimal is the bytes of its
unscaled int. An inner record is read as a tuple.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from native import DecodeError, Reader, Writer

Schema = dict[str, Any]
Encode = Callable[[Mapping[str, Any] | tuple[Any, ...]], bytes]
Decode = Callable[[bytes], tuple[Any, ...]]

__all__ = ["Decode", "DecodeError", "Encode", "Schema", "UnsupportedSchema", "decoder", "encoder", "is_flat", "varint"]


class UnsupportedSchema(TypeError):  # noqa: N818 - it is the schema that is named, as in UnknownSchema
    """The schema has a type that is neither read nor written here."""


_SIMPLE = {"boolean": 0, "int": 1, "long": 1, "string": 2, "bytes": 3}
_FIXED, _ARRAY, _MAP, _RECORD = 4, 5, 6, 7
Node = tuple[int, bool, int, str, tuple[Any, ...]]
"""Kind, whether it may be null, size of a fixed, name of a field, and what is within."""


def _node(schema: Any, name: str = "") -> Node:
    match schema:
        case str() if schema in _SIMPLE:
            return _SIMPLE[schema], False, 0, name, ()
        case ["null", inner]:
            kind, optional, size, _, within = _node(inner)
            if optional:
                raise UnsupportedSchema(str(schema))
            return kind, True, size, name, within
        case {"type": "fixed", "size": size}:
            return _FIXED, False, size, name, ()
        case {"type": "array", "items": inner}:
            return _ARRAY, False, 0, name, (_node(inner),)
        case {"type": "map", "values": inner}:
            return _MAP, False, 0, name, (_node(inner),)
        case {"type": "record", "fields": fields}:
            return _RECORD, False, 0, name, _fields(fields)
        case {"type": inner}:  # with what only tells how it is meant
            return _node(inner, name)
    raise UnsupportedSchema(str(schema))


def _fields(fields: Sequence[Mapping[str, Any]]) -> tuple[Node, ...]:
    return tuple(_node(field["type"], field["name"]) for field in fields)


def is_flat(schema: Schema) -> bool:
    """Whether no field holds others."""
    return all(node[0] <= _FIXED for node in _fields(schema["fields"]))


def encoder(schema: Schema, header: bytes = b"") -> Encode:
    """A function from a record to ``header`` and the record's bytes. Raises UnsupportedSchema.

    A record is a mapping of all fields, or a row: a tuple of their values in the schema's order, which takes less time.
    So are records within it. Texts are str, or the UTF-8 that they are. It raises KeyError for a missing field,
    TypeError for a value of another type, ValueError for a fixed of another size.
    """
    return Writer(_fields(schema["fields"]), header).write


def decoder(
    schema: Schema,
    wanted: Sequence[str],
    start: int,
    defaults: Mapping[str, Any],
    text: bool = True,
    header: bytes = b"",
    other: Decode | None = None,
) -> Decode:
    """A function from a record's bytes to the ``wanted`` fields, in that order. Raises UnsupportedSchema.

    Without ``text``, strings stay the UTF-8 bytes that they are, for whoever only passes them on.

    ``schema`` is the writer's; a wanted field that it lacks takes its value from ``defaults``. The record begins at
    ``start``; what does not begin with ``header`` (as long as ``start``, or empty) is ``other``'s to read. Reading ends
    behind the last wanted field, so only a decoder that wants the last field of the schema proves that the record ends
    where the bytes do. What it can't read raises DecodeError.
    """
    names = [field["name"] for field in schema["fields"]]
    count = max((names.index(name) + 1 for name in wanted if name in names), default=0)
    slots = tuple(wanted.index(name) if name in wanted else -1 for name in names[:count])
    blank = tuple(None if name in names else defaults[name] for name in wanted)
    fields = _fields(schema["fields"])[:count]
    return Reader(schema["name"], fields, count == len(names), text, slots, blank, start, header, other).read


def varint(value: int) -> bytes:
    """Avro's zig-zag variable-length int."""
    value = value << 1 if value >= 0 else ~(value << 1)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
