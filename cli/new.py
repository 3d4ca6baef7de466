"""Scaffolds, in a checkout of Sluice: `sluice new agent NAME` writes an agent, the schema of its rows, the migration of
their table, and a test, which pass as they are; then put your rule in the place of theirs (docs/agents.md).

The agent is found by its file, its topic by its schema, its table by the topic: nothing else has to know of it.
"""

import argparse
import json
import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from runtime.settings import Settings
from schemas.evolution import checksum
from schemas.topics import by_name

ALONE = True
NAME = re.compile(r"[a-z][a-z0-9_]{1,29}")
_WORDS = """
all and as by case cast database end from having in index interval into is join like limit not null on or order select
set settings table then to union using values view when where with
"""
FOLDERS = ("streams/agents", "schemas/avro", "sinks/migrations", "tests/agents")
_MADE = re.compile(r"CREATE (?:TABLE|VIEW) (?:IF NOT EXISTS )?(\w+)")


class Refused(Exception):  # noqa: N818
    """Nothing was written; the message says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument("what", choices=["agent"], help="what to scaffold")
    parser.add_argument("name", metavar="NAME", help="name of agent, topic and table: lower case, digits and _")
    parser.add_argument("--root", type=Path, default=Path(), metavar="FOLDER", help="the checkout (default: here)")


def run(settings: Settings, what: str, name: str, root: Path) -> int:
    """Exit code: 0 done, 2 refused."""
    try:
        written = scaffold(name, root)
    except Refused as error:
        print(f"sluice new {what}: {error}", file=sys.stderr)
        return 2
    agent, schema, migration, test = names = [path.relative_to(root).as_posix() for path in written]
    width = max(map(len, names)) + 2
    print(f"""wrote {agent:<{width}}the agent: a rule, its state, its row
      {schema:<{width}}the row's fields; it declares the topic {name}
      {migration:<{width}}the table and its view
      {test:<{width}}a test without servers, and one with ClickHouse

next: python -m pytest {test}    passes as it is
      put your rule into {agent}, its fields into schema and migration, and what it must say into the test
      python -m schemas.evolution     prints the schema's new line for schemas/avro/RELEASED, in the place of the old
      sluice topics && sluice migrate     before the workers start; `sluice up` does it by itself
docs/agents.md walks through a real one.""")
    return 0


def scaffold(name: str, root: Path) -> list[Path]:
    """Writes the files of a new agent and returns them: agent, schema, migration, test. Raises Refused."""
    missing = [folder for folder in FOLDERS if not (root / folder).is_dir()]
    if missing:
        raise Refused(f"{root.absolute()} is no checkout of Sluice: it has no {', '.join(missing)}")
    _check(name, root)
    migrations = sorted((root / "sinks/migrations").glob("[0-9]*.sql"))
    number = 1 + int(migrations[-1].name.split("_")[0]) if migrations else 1
    paths = {
        "agent.py": root / f"streams/agents/{name}.py",
        "schema.avsc": root / f"schemas/avro/{name}.1.avsc",
        "migration.sql": root / f"sinks/migrations/{number:04}_{name}.sql",
        "test.py": root / f"tests/agents/test_{name}.py",
    }
    there = [path for path in paths.values() if path.exists()]
    if there:
        raise Refused(f"{there[0]} is there already, and nothing is overwritten")
    words = name.split("_")
    fields = {"name": name, "title": " ".join(words).capitalize(), "record": "".join(map(str.capitalize, words))}
    fields["imports"] = ", ".join(sorted(("dedup", name)))
    for template, path in paths.items():
        text = (files("cli") / "scaffold" / f"{template}.txt").read_text()
        with path.open("x") as file:
            file.write(Template(text).substitute(fields))
    with (root / "schemas/avro/RELEASED").open("a") as file:
        file.write(f"{name}.1 {checksum(json.loads(paths['schema.avsc'].read_text()))}\n")
    return list(paths.values())


def _check(name: str, root: Path) -> None:
    if not NAME.fullmatch(name) or name.endswith("_rows"):
        raise Refused(f"{name!r} is no name for an agent: a letter, then up to 29 of a-z, 0-9 and _; not ..._rows")
    if keyword.iskeyword(name) or name in _WORDS.split():
        raise Refused(f"{name!r} is a word of Python or SQL")
    tables = {found for path in (root / "sinks/migrations").glob("*.sql") for found in _MADE.findall(path.read_text())}
    if name in tables or f"{name}_rows" in tables or name in by_name():
        raise Refused(f"there is a table or a topic {name!r} already")
