"""How Avro's primitive values go to ClickHouse: types of clickhouse-connect, chosen for what the values already are.

A column is sent in the type that costs Python least, and ClickHouse casts it to the table's: strings stay UTF-8 bytes,
a decimal the bytes of its unscaled int; names are dictionary-encoded and JSON is parsed by the server.
"""

from array import array
from collections.abc import Sequence
from typing import Any

from clickhouse_connect.datatypes.base import ClickHouseType
from clickhouse_connect.datatypes.container import Map
from clickhouse_connect.datatypes.dynamic import JSON
from clickhouse_connect.datatypes.numeric import BigDecimal
from clickhouse_connect.datatypes.registry import get_from_name, parse_name
from clickhouse_connect.datatypes.special import UUID
from clickhouse_connect.driver.ctypes import data_conv
from clickhouse_connect.driver.insert import InsertContext

Schema = Any
_INTS = {"int": "Int32", "long": "Int64", "boolean": "Bool", "string": "String", "bytes": "String"}


class Unscaled(BigDecimal, registered=False):
    """A Decimal whose values are Avro's: the big-endian bytes of the unscaled int."""

    base_type = "Decimal"

    @classmethod
    def of(cls, precision: int, scale: int, nullable: bool) -> "Unscaled":
        name = f"Decimal({precision}, {scale})"
        _, _, definition = parse_name(f"Nullable({name})" if nullable else name)
        return cls(definition, precision, 128 if precision <= 38 else 256, scale)

    def _write_column_binary(self, column: Sequence[bytes | None], dest: bytearray, ctx: InsertContext) -> None:
        size, zeros = self.byte_size, self._zeros
        dest += b"".join(
            [
                zeros
                if value is None
                else int.from_bytes(value, "big", signed=True).to_bytes(size, "little", signed=True)
                for value in column
            ]
        )


class Uuid(UUID, registered=False):
    """A UUID whose values are its 16 bytes; ClickHouse has them as two words, each with its lowest byte first."""

    base_type = "UUID"

    @classmethod
    def of(cls, nullable: bool = False) -> "Uuid":
        return cls(parse_name("Nullable(UUID)" if nullable else "UUID")[2])

    def _write_column_binary(self, column: Sequence[bytes | None], dest: bytearray, ctx: InsertContext) -> None:
        words = array("Q", b"".join([value or bytes(16) for value in column]))
        words.byteswap()  # whatever this machine's order is
        dest += words.tobytes()


class JsonText(JSON, registered=False):
    """JSON whose values are its UTF-8 bytes. (As String it would be parsed without the insert's settings.)"""

    base_type = "JSON"

    @classmethod
    def of(cls, name: str) -> "JsonText":
        """``name`` is the column's type."""
        return cls(parse_name(name)[2])

    def write_column_data(self, column: Sequence[bytes], dest: bytearray, ctx: InsertContext) -> None:
        data_conv.write_str_col(column, False, None, dest)


def wire_type(schema: Schema) -> ClickHouseType:
    """The type in which values of an Avro field are sent. Raises KeyError for what no table stores."""
    if isinstance(schema, list):
        return _optional(schema[1])
    match schema:
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return Unscaled.of(precision, scale, nullable=False)
        case {"logicalType": "uuid"}:
            return Uuid.of()
        case {"type": "map", "values": values}:
            return _map(values)
        case {"type": "array", "items": {"type": "record", "fields": fields}}:
            parts = ", ".join(f"{field['name']} {wire_type(field['type']).name}" for field in fields)
            return get_from_name(f"Array(Tuple({parts}))")
        case {"type": "array", "items": items}:
            return get_from_name(f"Array({wire_type(items).name})")
    return get_from_name(_flat(schema))


def avro_type(schema: Schema) -> str:
    """The type in which ClickHouse reads an Avro field; ``avro_value`` is then its value. Raises KeyError."""
    name: str = wire_type(schema).name
    if "UUID" in name and name not in ("UUID", "Nullable(UUID)"):
        raise KeyError(name)  # avro_value mends no ids within other values
    return name.replace("UUID", "FixedString(16)")


def avro_value(name: str, schema: Schema) -> str:
    """The value of a field that was read so, in SQL."""
    if "UUID" in wire_type(schema).name:
        return f"reinterpretAsUUID(concat(reverse(substring(`{name}`, 1, 8)), reverse(substring(`{name}`, 9, 8))))"
    return f"`{name}`"


def _optional(schema: Schema) -> ClickHouseType:
    match schema:
        case {"logicalType": "decimal", "precision": precision, "scale": scale}:
            return Unscaled.of(precision, scale, nullable=True)
        case {"logicalType": "uuid"}:
            return Uuid.of(nullable=True)
    return get_from_name(f"Nullable({_flat(schema)})")


def _flat(schema: Schema) -> str:
    match schema:
        case {"logicalType": "timestamp-millis"}:
            return "DateTime64(3, 'UTC')"
        case {"type": inner}:
            return _flat(inner)
    return _INTS[schema]


def _map(values: Schema) -> ClickHouseType:
    """A map with text keys; the types of its parts are set here, since a decimal's cannot be asked for by name."""
    inner = wire_type(values)
    _, _, definition = parse_name(f"Map(String, {inner.name})")
    found = Map(definition)
    found.value_type = inner
    return found
