"""How schemas may change: a released one never, a next version only so that old and new readers read both.

``avro/RELEASED`` has a line for every released version, its name and the checksum of what it means; a test holds the
tree against it. A new version or kind adds its line: ``python -m schemas.evolution`` prints those that are missing or
say otherwise. One that says otherwise is replaced only while nothing has written a record by it.
"""

import json
from hashlib import sha256
from typing import Any

from schemas.codec import Schema
from schemas.registry import FOLDER

RELEASED = FOLDER / "RELEASED"
_SAID = ("doc", "topic", "source")
"""Attributes that no reader of a record depends on."""


def checksum(source: Schema) -> str:
    """Of all that makes up a record: names, types, logical types, order, defaults."""
    return sha256(json.dumps(_bare(source), sort_keys=True).encode()).hexdigest()[:16]


def released() -> dict[str, str]:
    """Checksums by version, as ``event.1``."""
    return dict(line.split() for line in RELEASED.read_text().splitlines())


def present() -> dict[str, Schema]:
    """The schemas in the tree, by version."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.avsc"))}


def due() -> list[str]:
    """The lines that the tree should have in RELEASED and has not."""
    known = released()
    lines = ((version, checksum(source)) for version, source in present().items())
    return [f"{version} {found}" for version, found in lines if known.get(version) != found]


def faults(before: Schema, after: Schema) -> list[str]:
    """Why a reader of one version cannot read the other's records; empty where the change is compatible.

    Fields may be added anywhere, and taken away, if they have a default; a kept one stays as it is.
    """
    old, new = ({field["name"]: field for field in schema["fields"]} for schema in (before, after))
    found = [f"{name} is new and has no default" for name in new.keys() - old.keys() if "default" not in new[name]]
    found += [f"{name} is gone and had no default" for name in old.keys() - new.keys() if "default" not in old[name]]
    found += [f"{name} has changed" for name in old.keys() & new.keys() if _bare(old[name]) != _bare(new[name])]
    if before["name"] != after["name"]:
        found.append(f"{before['name']} is called {after['name']}")
    return sorted(found)


def _bare(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _bare(value) for key, value in schema.items() if key not in _SAID}
    if isinstance(schema, list):
        return [_bare(item) for item in schema]
    return schema


if __name__ == "__main__":
    for line in due():
        print(line)
