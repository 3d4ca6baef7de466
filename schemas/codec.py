"""Avro encoders and decoders compiled from a schema, for the hot path.

fastavro is the reference: the tests hold both against each other for every schema. It walks the schema for every
record; here the walk is done once and unrolled into a Python function, which writes a canonical event in less than a
quarter of the time and reads five of its fields in an eighth (bench/codec.py).

Read and written are boolean, int, long, string, bytes, fixed, and ``["null", one of these]``; written also arrays and
maps of these, and arrays of flat records. Values are Avro's primitive ones: a timestamp is an int of milliseconds, a
decimal is the bytes of its unscaled int.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

Schema = dict[str, Any]
Encode = Callable[[Mapping[str, Any]], bytes]
EncodeAll = Callable[[Sequence[dict[str, Any]]], list[bytes]]
EncodeRow = Callable[[Sequence[Any]], bytes]
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
    value = value << 1 if value >= 0 else ~(value << 1)
    if value < 16384:
        return _LAST[value]
    if value < 1 << 28:  # nearly every offset
        return _MORE[value & 16383] + _LAST[value >> 14]
    if value < 1 << 42:
        return _MORE[value & 16383] + _MORE[value >> 14 & 16383] + _LAST[value >> 28]
    return _large(value)


@lru_cache(256)  # the numbers of logs, of which there are few
def _large(value: int) -> bytes:
    out = b""
    while value > 16383:
        out += _MORE[value & 16383]
        value >>= 14
    return out + _LAST[value]


_EVEN = [_MORE[n << 1] for n in range(1 << 13)]
_TIME = "EVEN[{v} & 8191] + MORE[h & 16383] + LAST[h >> 14] if 134217728 <= (h := {v} >> 13) < 268435456"
"""The six bytes of a time of our days, in milliseconds, in place: two thirds of the time of a call."""


_SIX, _SIX_EVEN = 0x8080_8080_8081, 0x0080_8080_8080
"""The bits that tell an even number of six bytes: every time of our days, in milliseconds."""

# The low half of such a number by its first two bytes, -1 for others; and the high half by the four bytes behind, of
# those that were read: it is the same for eight seconds. Two fifths of the time of putting it together from its bits.
_LOW = [-1 if n & 0x8081 != 0x8080 else (n & 0x7F | n >> 1 & 0x3F80) >> 1 for n in range(1 << 16)]
_HIGH: dict[bytes, int] = {}
_HIGHS = 8192


def _read_long(data: bytes, at: int) -> tuple[int, int]:
    """As read_varint; a number of six bytes is read faster, as the ones near it, from now on."""
    value, end = read_varint(data, at)
    if end - at == 6 and value >= 0:
        if len(_HIGH) >= _HIGHS:
            _HIGH.clear()
        _HIGH[data[at + 2 : end]] = value >> 13 << 13
    return value, end


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The int at ``at`` and the position behind it. Raises IndexError past the end, DecodeError over 64 bits."""
    a = data[at]  # one to five bytes, as nearly all have, without a loop: half the time
    if a < 128:
        return (a >> 1) ^ -(a & 1), at + 1
    b = data[at + 1]
    if b < 128:
        return (a >> 1 & 63 | b << 6) ^ -(a & 1), at + 2
    c = data[at + 2]
    if c < 128:
        return (a >> 1 & 63 | (b & 127) << 6 | c << 13) ^ -(a & 1), at + 3
    d = data[at + 3]
    if d < 128:
        return (a >> 1 & 63 | (b & 127) << 6 | (c & 127) << 13 | d << 20) ^ -(a & 1), at + 4
    e = data[at + 4]
    if e < 128:
        return (a >> 1 & 63 | (b & 127) << 6 | (c & 127) << 13 | (d & 127) << 20 | e << 27) ^ -(a & 1), at + 5
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


SHORT = [0 if n & 1 or n > 127 else (n >> 1) + 1 for n in range(256)]
"""By its first byte, the bytes of a text and of its length; 0 where the length takes more than that byte."""


def long_text(data: bytes, at: int) -> tuple[int, int]:
    """Where a text begins and ends whose length stands at ``at``. Raises IndexError, DecodeError."""
    n, at = read_varint(data, at)
    if n < 0:
        raise DecodeError("a negative length")
    return at, at + n


TABLE = 4096
LENGTHS = [varint(n) for n in range(TABLE)]
"""By a length below TABLE, its bytes; in PRESENT behind the branch of a text that may be null and is not."""
PRESENT = [b"\x02" + length for length in LENGTHS]


def _length(n: int) -> bytes:
    return LENGTHS[n] if n < TABLE else varint(n)


def _present(n: int) -> bytes:
    return PRESENT[n] if n < TABLE else b"\x02" + varint(n)


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
        return _length(len(values)) + b"".join([encode(value) for value in values]) + b"\0" if values else b"\0"

    return encode_items


def _pairs(encode: Callable[[Any], bytes], named: bool) -> Callable[[Any], bytes]:
    """An encoder of maps, from one of their values."""
    name_of = lru_cache(1024)(_text if named else _bytes)  # few names come again and again

    def encode_pairs(values: Any) -> bytes:
        if not values:
            return b"\0"
        if len(values) == 1:  # most maps of sums
            ((name, value),) = values.items()
            return b"\x02" + name_of(name) + encode(value) + b"\0"
        pairs = [name_of(name) + encode(value) for name, value in values.items()]
        return _length(len(values)) + b"".join(pairs) + b"\0"

    return encode_pairs


def _bytes(value: bytes) -> bytes:
    return (LENGTHS[n] if (n := len(value)) < TABLE else varint(n)) + value


def _text(value: str) -> bytes:
    return _bytes(value.encode())


def _nested(schema: Any, named: bool) -> Callable[[Any], bytes] | None:
    """An encoder for what is more than one field of the record; None where ``schema`` is no such thing."""
    match schema:
        case {"type": "array", "items": inner}:
            return _items(_single(inner, named))
        case {"type": "map", "values": inner}:
            return _pairs(_single(inner, named), named)
        case {"type": "record"}:
            return _compile(schema, b"", named)  # type: ignore[no-any-return]
    return None


def _single(schema: Any, named: bool) -> Callable[[Any], bytes]:
    """An encoder of one value."""
    nested = _nested(schema, named)
    if nested is not None:
        return nested
    simple = {"int": varint, "long": varint, "bytes": _bytes, "string": _text if named else _bytes}
    optional, kind, _ = _field(schema)
    if not optional and kind in simple:
        return simple[kind]  # type: ignore[return-value]
    encode = _compile({"name": "item", "fields": [{"name": "item", "type": schema}]}, b"", False)
    if named and kind == "string":
        return lambda value: encode((value if value is None else value.encode(),))
    return lambda value: encode((value,))


def compile_encoder(schema: Schema, header: bytes = b"") -> Encode:
    """A function from a mapping of all fields to ``header`` and the record's bytes.

    It raises KeyError for a missing field and AttributeError or TypeError for a value of another type.
    """
    return _compile(schema, header, named=True)  # type: ignore[no-any-return]


def compile_batch_encoder(schema: Schema, header: bytes, shared: Sequence[str]) -> EncodeAll:
    """A function from dicts to the bytes of each, whose keys stand in the schema's order.

    All agree in the ``shared`` fields, which are encoded once.
    """
    encode = _compile(schema, header, named=True, shared=shared)
    types = {field["name"]: field["type"] for field in schema["fields"]}
    of_shared = [(name, _single(types[name], named=True)) for name in shared]

    def encode_all(records: Sequence[dict[str, Any]]) -> list[bytes]:
        if not records:
            return []
        parts = [encode_one(records[0][name]) for name, encode_one in of_shared]
        return encode(records, *parts)  # type: ignore[no-any-return]

    return encode_all


def compile_row_encoder(schema: Schema, header: bytes = b"") -> EncodeRow:
    """The same from the values alone, in the schema's order, and from texts that are UTF-8 bytes already.

    Such a row takes half the time. Records within it are rows too, and the names in its maps are bytes.
    """
    return _compile(schema, header, named=False)  # type: ignore[no-any-return]


def _compile(schema: Schema, header: bytes, named: bool, shared: Sequence[str] = ()) -> Any:
    """An encoder of mappings whose texts are str, or of rows whose texts are bytes.

    With ``shared`` fields it is one of many records, and takes the bytes of those fields as further arguments.
    """
    fields = schema["fields"]
    lines = []
    parts = ["HEADER"] if header else []
    names: dict[str, Any] = {
        "varint": varint, "LENGTH": LENGTHS, "PRESENT": PRESENT, "length": _length, "present": _present,
        "EVEN": _EVEN, "MORE": _MORE, "LAST": _LAST,
        "join": b"".join, "HEADER": header, "values": itemgetter(*(field["name"] for field in fields)),
    }  # fmt: skip
    got = [f"v{i}" for i in range(len(fields))]
    # All at once: half the time of one by one.
    row = "record.values()" if shared else "record"
    lines.append(f"    {', '.join(got)} = values(record)" if named and not shared else f"    {', '.join(got)}, = {row}")
    for i, field in enumerate(fields):
        v = got[i]
        if field["name"] in shared:
            parts.append(field["name"])
            continue
        nested = _nested(field["type"], named)
        if nested is not None:
            names[f"nested{i}"] = nested
            parts.append(f"nested{i}({v})")
            continue
        optional, kind, size = _field(field["type"])
        table, beyond = ("PRESENT", "present") if optional else ("LENGTH", "length")
        if kind in ("string", "bytes"):
            encoded = f"(b := {v}.encode())" if kind == "string" and named else v
            read = "b" if kind == "string" and named else v
            value = f"({table}[n] if (n := len({encoded})) < {TABLE} else {beyond}(n)) + {read}"
        elif kind == "fixed":
            lines.append(f"    if {v} is not None and len({v}) != {size}: raise ValueError({field['name']!r})")
            value = f"b'\\x02' + {v}" if optional else v
        elif kind == "boolean":
            yes, no = ("\\x02\\x01", "\\x02\\x00") if optional else ("\\x01", "\\x00")
            value = f"b'{yes}' if {v} else b'{no}'"
        elif kind == "int":  # most are small
            value = f"({table}[{v}] if 0 <= {v} < {TABLE} else " + ("b'\\x02' + " if optional else "") + f"varint({v}))"
        else:
            value = f"({_TIME.format(v=v)} else varint({v}))"
            value = f"b'\\x02' + {value}" if optional else value
        parts.append(f"b'\\x00' if {v} is None else {value}" if optional else value)
    made = f"join(({', '.join(parts)},))"
    if not shared:
        return _function("encode", ["def encode(record):", *lines, f"    return {made}"], names)
    head = [f"def encode(records, {', '.join(shared)}):", "    out = []", "    for record in records:"]
    loop = [f"    {line}" for line in (*lines, f"    out.append({made})")]
    return _function("encode", [*head, *loop, "    return out"], names)


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
    names = {
        "DecodeError": DecodeError, "read_varint": read_varint, "SHORT": SHORT, "long_text": long_text,
        "from_bytes": int.from_bytes, "LOW": _LOW, "HIGH": _HIGH, "read_long": _read_long,
        "NAME": schema["name"], "DEFAULTS": dict(defaults),
    }  # fmt: skip
    decode: Decode = _function("decode", lines, names)
    return decode


def _read(optional: bool, kind: str, size: int, name: str | None, text: bool) -> list[str]:
    """The lines that read a field into ``name``, or step over it."""
    if kind in ("string", "bytes"):
        lines = [
            "n = SHORT[data[at]]",  # nearly every text is shorter than 64 bytes
            "if n: end = at + n; at += 1",
            "else: at, end = long_text(data, at)",
        ]
        if name:
            lines.append(f"{name} = data[at:end]" + (".decode()" if text and kind == "string" else ""))
        lines.append("at = end")
    elif kind == "fixed":
        lines = [f"{name} = data[at:at + {size}]"] if name else []
        lines.append(f"at += {size}")
    elif kind == "boolean":
        lines = [f"{name} = data[at] != 0"] if name else []
        lines.append("at += 1")
    elif kind == "long":
        if name:
            lines = [
                "high = HIGH.get(data[at + 2:at + 6])",
                f"if high is not None and ({name} := LOW[data[at] | data[at + 1] << 8]) >= 0: {name} += high; at += 6",
                f"else: {name}, at = read_long(data, at)",
            ]
        else:
            lines = [
                f'if from_bytes(data[at:at + 6], "little") & {_SIX} == {_SIX_EVEN}: at += 6',
                "else: _, at = read_varint(data, at)",
            ]
    else:
        lines = ["n = data[at]"]
        lines += [f"if n < 128: {name} = n >> 1 ^ -(n & 1); at += 1" if name else "if n < 128: at += 1"]
        lines += [f"else: {name or '_'}, at = read_varint(data, at)"]
    if not optional:
        return lines
    head = ["branch = data[at]; at += 1", "if branch:"]
    check = "if branch != 2: raise DecodeError(f'no branch {branch}')"
    return head + ["    " + line for line in (check, *lines)] + ([f"else: {name} = None"] if name else [])


def _function(name: str, lines: list[str], names: dict[str, Any]) -> Any:
    exec("\n".join(lines), names)  # noqa: S102 - the source is made here from schemas of our own tree
    return names[name]
