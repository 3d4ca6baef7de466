"""The rules of the house that no linter knows."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sinks import migrate

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "native": {"native"},
    "schemas": {"native", "schemas"},
    "runtime": {"native", "schemas", "runtime"},
    "gateway": {"native", "schemas", "runtime", "gateway"},
    "streams": {"schemas", "runtime", "streams"},
    "sinks": {"schemas", "runtime", "sinks"},
    "embedded": {"schemas", "runtime", "embedded"},
    "cli": {"schemas", "runtime", "gateway", "streams", "sinks", "embedded", "cli"},
}
"""What each package may import of the tree."""
OURS = {*PACKAGES, "bench", "docs", "tests"}
SOURCES = sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))
LONGEST = 400
"""Lines of a module; a test's may have more, as they are read one test at a time."""

UNSTEADY = {"datetime", "os", "platform", "random", "secrets", "socket", "threading", "time", "uuid"}
"""Modules by which an agent could see a clock, chance or its machine."""
UNSTEADY_CALLS = {"hash", "id", "input", "now", "open", "perf_counter", "today", "urandom", "utcnow", "uuid1", "uuid4"}

FOREIGN = re.compile(
    r"pypi\.org|pythonhosted\.|\bmaven\.org|repo1?\.maven|maven\.apache|index-[u]rl|"
    r"(?<![\w.~/])/(?:work|root|home/\w+|Users/\w+)/"
)
"""Addresses of registries, which are the installer's to know, and paths of somebody's machine."""
PASSED = {".git", ".venv", ".sluice", "__pycache__", "build", "dist", ".hypothesis"}
TEXTS = {".cfg", ".ini", ".json", ".jsonl", ".lua", ".md", ".py", ".sh", ".sql", ".toml", ".txt", ".yml", ".yaml", ""}


def here(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imported(source: str) -> Iterator[str]:
    """Modules that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            yield node.module or ""


def crossings(package: str, source: str) -> list[str]:
    """Imports against the direction."""
    return [
        name for name in imported(source) if (top := name.partition(".")[0]) in OURS and top not in PACKAGES[package]
    ]


def unsteadiness(source: str) -> list[str]:
    """Where a clock, chance or the process could reach an agent's outputs."""
    found = [name for name in imported(source) if name.partition(".")[0] in UNSTEADY]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Global):
            found += [f"global {name}" for name in node.names]
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found += [f"{name}()"] if name in UNSTEADY_CALLS else []
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_in_one_direction(package: str) -> None:
    found = {here(path): crossings(package, path.read_text()) for path in (ROOT / package).rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_crossing_is_found() -> None:
    assert crossings("gateway", "from sinks.table import Block\nimport runtime.app, json") == ["sinks.table"]
    assert crossings("schemas", "def late():\n    import runtime.settings") == ["runtime.settings"]


def test_agents_see_no_clock_and_no_chance() -> None:
    found = {here(path): unsteadiness(path.read_text()) for path in (ROOT / "streams").rglob("*.py")}
    assert {path: what for path, what in found.items() if what} == {}


def test_unsteadiness_is_found() -> None:
    assert unsteadiness("import time\nfrom uuid import uuid4") == ["time", "uuid"]
    assert unsteadiness("def step(record, state, emit):\n    global n\n    return hash(record.key)") == [
        "global n",
        "hash()",
    ]
    assert unsteadiness("def step(record, state, emit):\n    return state.clock, record.timestamp") == []


def committed() -> Iterator[Path]:
    """Texts of the tree, but for what .gitignore names."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        kept = not any(part in PASSED or part.endswith(("_cache", ".egg-info")) for part in parts)
        if kept and path.suffix in TEXTS and path.is_file():
            yield path


def test_no_file_names_a_registry_or_a_path_of_a_machine() -> None:
    found = {here(path): FOREIGN.findall(path.read_text()) for path in committed()}
    assert {path: what for path, what in found.items() if what} == {}


def test_what_is_foreign_is_found() -> None:
    for text in ("--index-" + "url https://example.com", "see /ro" + "ot/x", 'open("/wo' + 'rk/y")'):
        assert FOREIGN.search(text)
    assert not FOREIGN.search("docs/work/x, ./work/, https://example.com/root/x")


def test_migrations_are_numbered_without_a_gap() -> None:
    names = [migration.name for migration in migrate.load()]
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_a_gap_between_migrations_is_found(tmp_path: Path) -> None:
    for name in ("0001_a.sql", "0003_b.sql"):
        (tmp_path / name).write_text("SELECT 1;\n")
    with pytest.raises(migrate.MigrationError, match="the number 0002 comes next"):
        migrate.load(tmp_path)


def test_modules_are_short() -> None:
    product = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    long = {here(path): count for path in product if (count := path.read_text().count("\n")) > LONGEST}
    assert long == {}


def test_parts_in_c_are_short() -> None:
    sources = (ROOT / "native").glob("*.[ch]")
    assert {here(path): count for path in sources if (count := path.read_text().count("\n")) > LONGEST} == {}


def test_modules_say_what_they_are() -> None:
    silent = [
        here(path) for path in SOURCES if path.read_text() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_metrics_are_named_in_one_place() -> None:
    users = [here(path) for path in SOURCES if "prometheus_client" in set(imported(path.read_text()))]
    product = [path for path in users if not path.startswith(("docs/", "tests/"))]
    assert product == ["runtime/metrics.py"]


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"#.*\b(?:TO" + "DO|FIX" + "ME|HA" + "CK)\\b")
    assert [here(path) for path in SOURCES if marks.search(path.read_text())] == []


def test_no_test_is_skipped_for_want_of_a_server() -> None:
    skips = re.compile(r"pytest\.(?:skip|importorskip)\(|mark\.skip(?:if)?\b")
    found = {here(path) for path in (ROOT / "tests").rglob("*.py") if skips.search(path.read_text())}
    # The official images need Docker and are an extra; the fuzzer has no wheel for every machine.
    assert found == {"tests/conftest.py", "tests/property/test_fuzz_target.py"}
