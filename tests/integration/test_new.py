"""`sluice new agent`, in a copy of the tree: what it writes is found by every role and passes at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(".venv", ".git", ".*_cache", ".hypothesis", "__pycache__", ".sluice")
FOUND = """
from cli.topics import all_topics
from runtime.settings import load
from sinks.freshness import routes
print(*sorted(topic.name for topic in all_topics(load()) if "win_streaks" in topic.name))
print(routes("worker", "sink")["win_streaks"])
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree") / "sluice"
    shutil.copytree(ROOT, folder, ignore=NOT_SOURCE)
    return folder


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, timeout=240
    )


def new(tree: Path, name: str) -> subprocess.CompletedProcess[str]:
    return python(tree, "-m", "cli.main", "new", "agent", name)


@pytest.mark.slow
def test_the_scaffold_passes_at_once(tree: Path) -> None:
    done = new(tree, "win_streaks")
    assert done.returncode == 0, done.stderr
    written = ["streams/agents/win_streaks.py", "schemas/avro/win_streaks.1.avsc", "tests/agents/test_win_streaks.py"]
    assert [path for path in written if path not in done.stdout] == []
    (migration,) = (tree / "sinks/migrations").glob("*_win_streaks.sql")
    assert migration.name in done.stdout
    test = python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/agents/test_win_streaks.py")
    assert test.returncode == 0, test.stdout
    judged = python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_evolution.py")
    assert judged.returncode == 0, judged.stdout
    python_files = [written[0], written[2]]
    for tool in (("ruff", "check"), ("ruff", "format", "--check"), ("mypy", "--no-incremental")):
        judged = python(tree, "-m", *tool, *python_files)
        assert judged.returncode == 0, judged.stdout
    found = python(tree, "-c", FOUND)
    assert found.stdout.splitlines() == [
        "win_streaks win_streaks-changelog",
        "((('ingest.events', 'worker'),), (('events', 'worker'),), (('win_streaks', 'sink'),))",
    ], found.stderr


def test_nothing_is_overwritten(tree: Path) -> None:
    before = {path: path.read_bytes() for path in tree.rglob("*dedup*") if path.is_file()}
    for name, why in {"dedup": "there already", "bets": "table or a topic", "freshness": "table or a topic"}.items():
        done = new(tree, name)
        assert (done.returncode, done.stdout) == (2, "")
        assert why in done.stderr
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("name", ["", "Bets", "9lives", "a-b", "../x", "class", "select", "x_rows", "x" * 31])
def test_a_name_is_checked(tree: Path, name: str) -> None:
    done = new(tree, name)
    assert done.returncode == 2
    assert "sluice new agent:" in done.stderr


def test_it_needs_a_checkout(tree: Path, tmp_path: Path) -> None:
    done = python(tree, "-m", "cli.main", "new", "agent", "x1", "--root", str(tmp_path))
    assert done.returncode == 2
    assert "is no checkout of Sluice" in done.stderr
