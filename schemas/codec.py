"""Avro encoders and decoders compiled from a schema, for the hot path.

fastavro is the reference: the tests hold both against each other for every schema. It walks the schema for every
record; here the walk is done once and unrolled into a Python function, which writes a canonical event in about a
third of the time and reads the few fields that an agent wants in a tenth (bench/codec.py).

Read and written are boolean, int, long, string, bytes, fixed, and ``["null", one of these]``; written also arrays and
maps of these, and arrays of flat records. Values are Avro's primitive ones: a timestamp is an int of milliseconds, a
decimal is the bytes of its unscaled int.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

Schema = dict[str, Any]
Encode = Callable[[Mapping[str, Any]], bytes]
Decode = Callable[[bytes], tuple[Any, ...]]


class DecodeError(ValueError):
    """The bytes are not a record of the schema they claim."""


class UnsupportedSchema(TypeError):  # noqa: N818 - it is the schema that is named, as in UnknownSchema
    """The schema has a type for which no code is compiled; fastavro reads and writes it."""


def _simple_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


# Fourteen bits at a time: two bytes that are followed by more, and the one or two that end a number.
_MORE = [bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(1 << 14)]
_LAST = [_simple_varint(n) for n in range(1 << 14)]


def varint(value: int) -> bytes:
    """Avro's zig-zag variable-length int."""
    value = (value << 1) ^ (value >> 63)
    if value < 16384:
        return _LAST[value]
    out = _MORE[value & 16383]
    value >>= 14
    while value > 16383:
        out += _MORE[value & 16383]
        value >>= 14
    return out + _LAST[value]


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The int at ``at`` and the position behind it. Raises IndexError past the end, DecodeError over 64 bits."""
    six = int.from_bytes(data[at : at + 6], "little")
    if six & 0x8080_8080_8080 == 0x0080_8080_8080:  # six bytes, unrolled: every time of our days, in milliseconds
        value = (
            (six & 0x7F)
            | (six >> 1 & 0x7F << 7)
            | (six >> 2 & 0x7F << 14)
            | (six >> 3 & 0x7F << 21)
            | (six >> 4 & 0x7F << 28)
            | (six >> 5 & 0x7F << 35)
        )
        return (value >> 1) ^ -(value & 1), at + 6
    shift = result = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (result >> 1) ^ -(result & 1), at
        shift += 7
        if shift > 63:
            raise DecodeError("a number of more than 64 bits")


_TABLE = 4096
_LENGTHS = [varint(n) for n in range(_TABLE)]
_PRESENT = [b"\x02" + length for length in _LENGTHS]


def _length(n: int) -> bytes:
    return _LENGTHS[n] if n < _TABLE else varint(n)


def _present(n: int) -> bytes:
    return _PRESENT[n] if n < _TABLE else b"\x02" + varint(n)


def _kind(schema: Any) -> tuple[str, int]:
    """(primitive name, size of a fixed)."""
    if isinstance(schema, dict):
        if schema["type"] == "fixed":
            return "fixed", schema["size"]
        return _kind(schema["type"])
    if schema in ("boolean", "int", "long", "string", "bytes"):
        return schema, 0
    raise UnsupportedSchema(str(schema))


def _field(schema: Any) -> tuple[bool, str, int]:
    """(optional, kind, size) of a field."""
    if isinstance(schema, list):
        if len(schema) != 2 or schema[0] != "null":
            raise UnsupportedSchema(str(schema))
        return True, *_kind(schema[1])
    return False, *_kind(schema)


def _items(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """An encoder of arrays, from one of their items."""

    def encode_items(values: Any) -> bytes:
        return b"".join((varint(len(values)), *map(encode, values), b"\0")) if values else b"\0"

    return encode_items


def _pairs(encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """An encoder of maps, from one of their values."""
    items = _items(lambda pair: _length(len(name := pair[0].encode())) + name + encode(pair[1]))
    return lambda values: items(values.items())


def _nested(schema: Any) -> Callable[[Any], bytes] | None:
    """An encoder for what is more than one field of the record; None where ``schema`` is no such thing."""
    match schema:
        case {"type": "array", "items": inner}:
            return _items(_single(inner))
        case {"type": "map", "values": inner}:
            return _pairs(_single(inner))
        case {"type": "record"}:
            return compile_encoder(schema)
    return None


def _single(schema: Any) -> Callable[[Any], bytes]:
    """An encoder of one value."""
    nested = _nested(schema)
    if nested is not None:
        return nested
    encode = compile_encoder({"name": "item", "fields": [{"name": "item", "type": schema}]})
    return lambda value: encode({"item": value})


def compile_encoder(schema: Schema, header: bytes = b"") -> Encode:
    """A function from a mapping of all fields to ``header`` and the record's bytes.

    It raises KeyError for a missing field and AttributeError or TypeError for a value of another type.
    """
    fields = schema["fields"]
    lines = ["def encode(record):"]
    parts = ["HEADER"] if header else []
    names: dict[str, Any] = {
        "varint": varint, "LENGTH": _LENGTHS, "PRESENT": _PRESENT, "length": _length, "present": _present,
        "join": b"".join, "HEADER": header, "values": itemgetter(*(field["name"] for field in fields)),
    }  # fmt: skip
    got = [f"v{i}" for i in range(len(fields))]
    lines.append(f"    {', '.join(got)} = values(record)")  # all at once: half the time of one by one
    for i, field in enumerate(fields):
        v = got[i]
        nested = _nested(field["type"])
        if nested is not None:
            names[f"nested{i}"] = nested
            parts.append(f"nested{i}({v})")
            continue
        optional, kind, size = _field(field["type"])
        table, beyond = ("PRESENT", "present") if optional else ("LENGTH", "length")
        if kind in ("string", "bytes"):
            encoded = f"{v}.encode()" if kind == "string" else v
            value = f"({table}[n] if (n := len(b := {encoded})) < {_TABLE} else {beyond}(n)) + b"
        elif kind == "fixed":
            lines.append(f"    if {v} is not None and len({v}) != {size}: raise ValueError({field['name']!r})")
            value = f"b'\\x02' + {v}" if optional else v
        elif kind == "boolean":
            yes, no = ("\\x02\\x01", "\\x02\\x00") if optional else ("\\x01", "\\x00")
            value = f"b'{yes}' if {v} else b'{no}'"
        else:
            value = f"b'\\x02' + varint({v})" if optional else f"varint({v})"
        parts.append(f"b'\\x00' if {v} is None else {value}" if optional else value)
    lines.append(f"    return join(({', '.join(parts)},))")
    encode: Encode = _function("encode", lines, names)
    return encode


def compile_decoder(
    schema: Schema, wanted: Sequence[str], start: int, defaults: Mapping[str, Any], text: bool = True
) -> Decode:
    """A function from a record's bytes to the ``wanted`` fields, in that order.

    Without ``text``, strings stay the UTF-8 bytes that they are, for whoever only passes them on: half the time.

    ``schema`` is the writer's; a wanted field that it lacks takes its value from ``defaults``. The record begins at
    ``start``; what stands before it is the caller's to check. Reading stops behind the last wanted field, so only a
    decoder that wants the last field of the schema proves that the record ends where the bytes do.
    """
    fields = schema["fields"]
    present = [name for name in wanted if any(field["name"] == name for field in fields)]
    last = max((i for i, field in enumerate(fields) if field["name"] in present), default=-1)
    lines = ["def decode(data):", f"    at = {start}", "    try:", "        pass"]
    for i, field in enumerate(fields[: last + 1]):
        name = f"v{i}" if field["name"] in present else None
        lines += ["        " + line for line in _read(*_field(field["type"]), name, text)]
    end = "at != len(data)" if last == len(fields) - 1 else "at > len(data)"
    lines += [
        "    except (IndexError, UnicodeDecodeError) as error:",
        "        raise DecodeError(f'not a record of {NAME}: {error}') from error",
        f"    if {end}: raise DecodeError(f'not a record of {{NAME}}: it should end at {{at}}, not {{len(data)}}')",
    ]
    index = {field["name"]: i for i, field in enumerate(fields)}
    values = [f"v{index[name]}" if name in present else f"DEFAULTS[{name!r}]" for name in wanted]
    lines.append(f"    return ({', '.join(values)},)")
    names = {"DecodeError": DecodeError, "read_varint": read_varint, "NAME": schema["name"], "DEFAULTS": dict(defaults)}
    decode: Decode = _function("decode", lines, names)
    return decode


def _read(optional: bool, kind: str, size: int, name: str | None, text: bool) -> list[str]:
    """The lines that read a field into ``name``, or step over it."""
    if kind in ("string", "bytes"):
        lines = [
            "n = data[at]",
            "if n < 128 and not n & 1: n >>= 1; at += 1",  # nearly every text is shorter than 64 bytes
            "else:",
            "    n, at = read_varint(data, at)",
            "    if n < 0: raise DecodeError('a negative length')",
        ]
        if name:
            lines.append(f"{name} = data[at:at + n]" + (".decode()" if text and kind == "string" else ""))
        lines.append("at += n")
    elif kind == "fixed":
        lines = [f"{name} = data[at:at + {size}]"] if name else []
        lines.append(f"at += {size}")
    elif kind == "boolean":
        lines = [f"{name} = data[at] != 0"] if name else []
        lines.append("at += 1")
    else:
        lines = [f"{name or '_'}, at = read_varint(data, at)"]
    if not optional:
        return lines
    head = ["branch = data[at]; at += 1", "if branch == 2:"]
    tail = ["elif branch: raise DecodeError(f'no branch {branch}')"]
    return head + ["    " + line for line in lines] + tail + ([f"else: {name} = None"] if name else [])


def _function(name: str, lines: list[str], names: dict[str, Any]) -> Any:
    exec("\n".join(lines), names)  # noqa: S102 - the source is made here from schemas of our own tree
    return names[name]
