"""Released schemas stay as they are, and a next version can be read by the readers of the last."""

import copy
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import fastavro
import pytest

from schemas import evolution
from schemas.evolution import checksum, due, faults, present, released
from schemas.registry import EVENT, RecordType, Version
from schemas.routing import FIRST, route
from tests.events import event

ADDED = {"name": "channel", "type": ["null", "string"], "default": None}
EVENT_1 = present()["event.1"]


def test_no_released_schema_is_changed_or_gone() -> None:
    """A schema of yours that is new, or was changed before it wrote anything, needs its line: python -m
    schemas.evolution prints it."""
    assert {version: checksum(source) for version, source in present().items()} == released()


def test_a_line_is_due_where_there_is_none_and_where_it_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{version} {checksum(source)}" for version, source in present().items()]
    monkeypatch.setattr(evolution, "RELEASED", tmp_path / "RELEASED")
    for others in ([], [f"{lines[0].split()[0]} 0123456789abcdef"]):
        evolution.RELEASED.write_text("".join(f"{line}\n" for line in [*others, *lines[1:]]))
        assert due() == lines[:1]


def test_each_version_is_compatible_with_the_one_before() -> None:
    kinds: dict[str, list[tuple[int, Any]]] = {}
    for version, source in present().items():
        name, number = version.rsplit(".", 1)
        kinds.setdefault(name, []).append((int(number), source))
    for name, versions in kinds.items():
        versions.sort(key=lambda item: item[0])
        assert [number for number, _ in versions] == list(range(1, len(versions) + 1)), name
        for (_, before), (_, after) in pairwise(versions):
            assert faults(before, after) == [], name


@pytest.mark.parametrize("version", [version for version in present() if version.startswith("event.")])
def test_what_agents_route_by_stays_first(version: str) -> None:
    assert tuple(field["name"] for field in present()[version]["fields"][: len(FIRST)]) == FIRST


def changed(change: str) -> dict[str, Any]:
    """The event's schema after a change."""
    source = copy.deepcopy(EVENT_1)
    fields = source["fields"]
    by_name = {field["name"]: field for field in fields}
    match change:
        case "added with a default":
            fields.insert(12, ADDED)
        case "added without":
            fields.append({"name": "channel", "type": "string"})
        case "gone, it had a default":
            fields.remove(by_name["user_agent"])
        case "gone, it had none":
            fields.remove(by_name["payload"])
        case "another type":
            by_name["received_at"]["type"] = "string"
        case "another default":
            by_name["currency"] |= {"type": ["string", "null"], "default": "EUR"}
        case "another scale":
            by_name["amount"]["type"][1]["scale"] = 8
        case "renamed record":
            source["name"] = "Happening"
        case "another text":
            by_name["amount"]["doc"] = "something else"
    return source


@pytest.mark.parametrize("change", ["added with a default", "gone, it had a default", "another text"])
def test_a_compatible_change_is_read_both_ways(change: str) -> None:
    source = changed(change)
    assert faults(EVENT_1, source) == []
    versions = [Version.of(EVENT_1, 1), Version.of(source, 2)]
    given = event(player_id="p", amount=5, currency="EUR", user_agent="curl") | {"channel": "web"}
    for writer, reader in (versions, versions[::-1]):
        out = BytesIO()
        fastavro.schemaless_writer(out, writer.parsed, given)
        read = fastavro.schemaless_reader(BytesIO(out.getvalue()), writer.parsed, reader.parsed)
        known = writer.schema["fields"]
        assert {field["name"]: read[field["name"]] for field in known if field["name"] in read} == {
            field["name"]: given[field["name"]] for field in known if field["name"] in read
        }


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("added without", ["channel is new and has no default"]),
        ("gone, it had none", ["payload is gone and had no default"]),
        ("another type", ["received_at has changed"]),
        ("another default", ["currency has changed"]),
        ("another scale", ["amount has changed"]),
        ("renamed record", ["Event is called Happening"]),
    ],
)
def test_an_incompatible_change_is_refused(change: str, why: list[str]) -> None:
    assert faults(EVENT_1, changed(change)) == why
    assert checksum(changed(change)) != checksum(EVENT_1)


def test_a_text_is_no_change() -> None:
    assert checksum(changed("another text")) == checksum(EVENT_1)


def test_each_version_is_read_as_the_newest() -> None:
    """Old records get the default, new ones lose nothing; the fast readers and the routing know both."""
    newer = RecordType([Version.of(EVENT_1, 1), Version.of(changed("added with a default"), 2)])
    given = event(player_id="p", amount=5, dedup="d") | {"channel": "web"}
    old, new = EVENT.encode(given), newer.encode(given)
    assert old[:10] != new[:10]
    read = newer.reader("player_id", "channel", "payload")
    assert (read(old), read(new)) == (("p", None, given["payload"]), ("p", "web", given["payload"]))
    assert (newer.decode(old)["channel"], newer.decode(new)["channel"]) == (None, "web")
    EVENT.versions[new[:10]] = newer.versions[new[:10]]
    try:
        assert route(old) == route(new)
        assert EVENT.reader("player_id", "payload")(new) == ("p", given["payload"])
        assert "channel" not in EVENT.decode(new)
    finally:
        del EVENT.versions[new[:10]]
