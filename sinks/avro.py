"""Records to ClickHouse as the Avro that they are: it reads them itself, and here their bytes are only joined.

The body of such an insert is an Avro file of one block. Its rows are what a SELECT makes of the records: the ``sql`` of
each column. (Decoding every record here and encoding it again by the column was half of the sink's processor time:
docs/performance/end_to_end.md.)

Avro puts nothing between records, so that one which is longer or shorter than it says would be read on into the next.
Behind each stands a mark therefore, chosen by chance for each insert, and where it is not in its place the whole insert
is refused. A record cannot hold the mark, and one that swallows the next with its mark leaves a record too few, which
ClickHouse misses before it writes anything (sinks.writer). Which record it was is found by decoding
(``sinks/batch.py``). Of what our agents encode themselves, two things are read less strictly than there, and change no
other record: a branch that a union has not is null, and a text that is not UTF-8 is kept. Events, whose bytes came from
elsewhere, are read to their end before (sinks.feeds).
"""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

from schemas.codec import varint
from schemas.registry import HEADER, RecordType
from sinks.table import Table
from sinks.wire import Schema, avro_type

AHEAD = "_ahead"
"""The field with the bytes that a feed puts before each of its records."""
_HEADER, _MARK = "_header", "_mark"
MARK = 16
"""Bytes of a mark: 64 bits of chance in hexadecimal digits, since errors quote it."""
_SYNC = bytes(16)
"""What ends a file's block."""


class Unreadable(Exception):  # noqa: N818
    """ClickHouse cannot read one of the fields that a table needs."""


class Passage:
    """How records of a kind go to their tables."""

    def __init__(self, kind: RecordType, tables: Sequence[Table], ahead: int = 0) -> None:
        """``ahead`` is how many bytes stand before each record. Raises Unreadable."""
        source = kind.latest.source
        self.header = kind.latest.header
        fields = [*([_fixed(AHEAD, ahead)] if ahead else []), _fixed(_HEADER, HEADER), *source["fields"]]
        self._fields = {field["name"]: field["type"] for field in fields}
        schema = json.dumps(_short(source | {"fields": [*fields, _fixed(_MARK, MARK)]})).encode()
        self._head = b"".join((b"Obj\x01", varint(1), _text(b"avro.schema"), _text(schema), b"\0", _SYNC))
        self._statements = {table.name: self._statement(table) for table in tables}

    def _statement(self, table: Table) -> str:
        names = ", ".join(f"`{column.name}`" for column in table.columns)
        values = ", ".join(column.sql for column in table.columns)
        doubts = [column.doubt for column in table.columns if column.doubt]
        words = set(re.findall(r"\w+", " ".join((values, table.unfold, *doubts))))
        read = [f"`{name}` {_type(name, schema)}" for name, schema in self._fields.items() if name in words]
        structure = ", ".join([*read, f"{_MARK} FixedString({MARK})"]).replace("'", "\\'")
        wrong = " OR ".join([f"{_MARK} != '%s'", *doubts])
        rows = f"input('{structure}') WHERE NOT throwIf({wrong}, 'to be decoded by the sink')"
        if table.unfold:  # behind the check: a record that becomes no row is checked too
            rows = f"(SELECT * FROM {rows}) {table.unfold}"  # noqa: S608 - names of our own
        return f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {rows} FORMAT Avro\n"  # noqa: S608

    def statement(self, table: Table, mark: bytes) -> bytes:
        """The INSERT, in front of its body."""
        return self._statements[table.name].replace("%s", mark.decode()).encode()

    def body(self, values: Sequence[bytes], mark: bytes) -> bytes:
        """Encoded records, with what stands before each, as a file."""
        records = mark.join((*values, b""))
        return b"".join((self._head, varint(len(values)), varint(len(records)), records, _SYNC))


def new_mark() -> bytes:
    """For one insert."""
    return os.urandom(MARK // 2).hex().encode()


def _fixed(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "type": {"type": "fixed", "name": f"{name}_bytes", "size": size}}


def _short(schema: Any) -> Any:
    """A schema without its sentences, which take ClickHouse as long to read as the rest."""
    if isinstance(schema, dict):
        return {key: _short(value) for key, value in schema.items() if key != "doc"}
    return [_short(item) for item in schema] if isinstance(schema, list) else schema


def _text(value: bytes) -> bytes:
    return varint(len(value)) + value


def _type(name: str, schema: Schema) -> str:
    if name in (AHEAD, _HEADER):
        return f"FixedString({schema['size']})"
    try:
        return avro_type(schema)
    except KeyError:
        raise Unreadable(name) from None
