"""Every schema that was ever released, and single-object encoding: C3 01, the schema's fingerprint, the record.

A reader that meets a fingerprint which its tree does not hold raises UnknownSchema; ``runtime`` then asks the topic
``control.schemas``, where every writer publishes its schemas before its first record, and calls ``learn``.

Errors: UnknownSchema, DecodeError.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.codec import Decode, DecodeError, Encode, Schema, decoder, encoder

FOLDER = Path(__file__).parent / "avro"
MAGIC = b"\xc3\x01"
HEADER = 10  # bytes before the record: magic and fingerprint


class UnknownSchema(DecodeError):  # noqa: N818 - the name says what is unknown
    """The record's schema is in neither this version's tree nor what was learnt from control.schemas."""

    def __init__(self, header: bytes) -> None:
        super().__init__(f"no schema with the fingerprint {header[2:].hex()}")
        self.header = header


def _primitive(schema: Any) -> Any:
    """The schema without logical types and docs: values are then plain ints and bytes."""
    if isinstance(schema, dict):
        drop = ("logicalType", "precision", "scale", "doc")
        bare = {key: _primitive(value) for key, value in schema.items() if key not in drop}
        return bare["type"] if set(bare) == {"type"} else bare
    if isinstance(schema, list):
        return [_primitive(item) for item in schema]
    return schema


@dataclass(frozen=True)
class Version:
    """One released version of a schema."""

    name: str
    number: int
    source: Schema
    schema: Schema = field(repr=False)
    parsed: Any = field(repr=False)
    header: bytes

    @classmethod
    def of(cls, source: Schema, number: int = 0) -> "Version":
        schema = _primitive(source)
        parsed = fastavro.parse_schema(schema)
        sum64 = bytes.fromhex(fingerprint(to_parsing_canonical_form(parsed), "CRC-64-AVRO"))
        return cls(source["name"], number, source, schema, parsed, MAGIC + sum64)

    def defaults(self) -> dict[str, Any]:
        return {field["name"]: field["default"] for field in self.schema["fields"] if "default" in field}


class RecordType:
    """A kind of record: writes its newest version, reads every version that it knows."""

    def __init__(self, versions: list[Version]) -> None:
        self.latest = max(versions, key=lambda version: version.number)
        self.name = self.latest.name
        self.versions = {version.header: version for version in versions}
        self._decoders: dict[tuple[bytes, tuple[str, ...], bool], Decode] = {}
        self.encode: Encode = encoder(self.latest.schema, self.latest.header)
        """From a mapping of all fields, or a tuple of them in the schema's order, to the bytes."""

    def decode(self, data: bytes) -> dict[str, Any]:
        """The record with the fields of the newest version. Raises DecodeError, UnknownSchema."""
        version = self.version_of(data)
        source = BytesIO(data)
        source.seek(HEADER)
        try:
            record = fastavro.schemaless_reader(source, version.parsed, self.latest.parsed)
        except Exception as error:  # fastavro raises whatever the bytes make it stumble over
            raise DecodeError(f"not a record of {self.name}: {type(error).__name__}: {error}") from error
        if source.tell() != len(data):
            raise DecodeError(f"not a record of {self.name}: {len(data) - source.tell()} bytes too many")
        return record  # type: ignore[no-any-return]

    def reader(self, *wanted: str, text: bool = True) -> Decode:
        """A function from the bytes to the ``wanted`` fields in that order, whatever version wrote them.

        Without ``text``, strings are left as UTF-8 bytes.
        """

        def other(data: bytes) -> tuple[Any, ...]:
            return self._decoder(self.version_of(data).header, wanted, text)(data)

        head = self.latest.header
        return decoder(self.latest.schema, wanted, HEADER, {}, text, head, other)

    def version_of(self, data: bytes) -> Version:
        """The version that wrote the record. Raises DecodeError, UnknownSchema."""
        header = bytes(data[:HEADER])
        if len(header) < HEADER or header[:2] != MAGIC:
            raise DecodeError(f"not single-object Avro: it begins with {header.hex()}")
        version = self.versions.get(header)
        if version is None:
            raise UnknownSchema(header)
        return version

    def _decoder(self, header: bytes, wanted: tuple[str, ...], text: bool) -> Decode:
        found = self._decoders.get((header, wanted, text))
        if found is None:
            defaults = self.latest.defaults()
            if not text:
                defaults = {
                    name: value.encode() if isinstance(value, str) else value for name, value in defaults.items()
                }
            found = decoder(self.versions[header].schema, wanted, HEADER, defaults, text)
            self._decoders[header, wanted, text] = found
        return found


@cache
def _load() -> dict[str, RecordType]:
    versions: dict[str, list[Version]] = {}
    for path in sorted(FOLDER.glob("*.avsc")):
        stem, number = path.stem.rsplit(".", 1)
        versions.setdefault(stem, []).append(Version.of(json.loads(path.read_text()), int(number)))
    return {stem: RecordType(found) for stem, found in versions.items()}


def learn(source: Schema) -> Version:
    """Adds a schema that a newer release published, so that its records can be read. Raises DecodeError."""
    try:
        version = Version.of(source)
        kind = next(kind for kind in _load().values() if kind.name == version.name)
    except StopIteration:
        raise DecodeError(f"no kind of record is called {source['name']}") from None
    except Exception as error:
        raise DecodeError(f"not a schema: {error}") from error
    return kind.versions.setdefault(version.header, version)


def released() -> list[Version]:
    """Every version in this tree, for control.schemas."""
    return [version for kind in _load().values() for version in kind.versions.values() if version.number]


def record_types() -> list[RecordType]:
    """Every kind of record, by the names of their schema files."""
    return list(_load().values())


def record_type(name: str) -> RecordType:
    """The kind of record whose schema files are called ``name``. Raises KeyError."""
    return _load()[name]


EVENT = record_type("event")
REPEAT = record_type("repeat")
BET = record_type("bet")
SESSION = record_type("session")
REJECTION = record_type("rejection")
DEAD_LETTER = record_type("dead_letter")
API_KEY = record_type("api_key")
REGISTERED_EVENT = record_type("registered_event")
EPOCH = record_type("epoch")
FORGOTTEN = record_type("forgotten")
LOSS = record_type("loss")
