"""Each rule of design.md is needed: with it taken out of the code, a storm (test_storm, test_deletes) goes red.

A rule is taken out by changing a line of the function that keeps it, for the length of one test. Where a later change
moves that line, the case says so; where it makes a rule superfluous, its storms stay green and the case fails. What is
kept in C is taken out of a library made for the test, which a Python of its own loads.
"""

import inspect
import os
import shutil
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from native import build
from runtime import carry, changelog
from runtime.carry import Carrier
from runtime.changelog import Reader
from runtime.partition import PartitionState
from runtime.step import _Attempt
from streams.agents import sessions
from tests.property import test_deletes, test_storm
from tests.property.test_agents import check

SEEDS = 40


@dataclass(frozen=True)
class Rule:
    """Its text, the function that keeps it, and the change that takes it out."""

    text: str
    owner: type
    function: str
    kept: str
    gone: str


RULES = [
    Rule(
        "3.1: watermarks are part of the state, and survive its loss",
        _Attempt, "_result", "marks=self._marks", "marks=self._before.marks",
    ),
    Rule(
        "3.2: stream time is the state's, not the process's",
        _Attempt, "_result", "clock=self._state.clock", "clock=-1",
    ),
    Rule(
        "3.4: half a group never counts",
        Reader, "add", "if index + 1 != parts:\n        return None", "pass",
    ),
    Rule(
        "3.4: a paused worker's older values lose",
        PartitionState, "_apply", "change[3] > applied", "True",
    ),
    Rule(
        "3.4: the furthest marker is kept",
        PartitionState, "_apply", "if not stale:", "if True:",
    ),
    Rule(
        "3.5: the position moves only over what was read or appended without a gap",
        PartitionState, "commit", "len(offsets) == 1 and offsets[0] == self.position", "True",
    ),
    Rule(
        "3.5: a group that does not follow what was read is never applied to it",
        PartitionState, "_apply", "if theirs.before > applied:", "if False:",
    ),
    Rule(
        "3.5: what was unpacked is void once somebody else has written",
        PartitionState, "commit", "self.objects.clear()", "pass",
    ),
    Rule(
        "Changelogs: what is carried counts only if nobody has gone on meanwhile",
        PartitionState, "_apply", "carried if change[0] == CARRIED else", "True if change[0] == CARRIED else",
    ),
    Rule(
        "Changelogs: a tail is deleted only by whoever knows everything behind it",
        Carrier, "advance", "if state.position == before + parts:", "if True:",
    ),
    Rule(
        "Changelogs: what is live is carried before the tail is deleted",
        Carrier, "_live", "if stored is not None and offset_of(stored) == offset:", "if False:",
    ),
]  # fmt: skip


def take_out(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    function = getattr(rule.owner, rule.function)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(rule.kept) == 1, f"the line that keeps the rule has moved: {rule}"
    made: dict[str, Any] = {}
    exec(source.replace(rule.kept, rule.gone), sys.modules[function.__module__].__dict__, made)
    monkeypatch.setattr(rule.owner, rule.function, made[rule.function])


def red() -> bool:
    """Whether a storm goes red."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carry, "SPARE", 3)
        patch.setattr(carry, "FACTOR", 0)
        patch.setattr(sessions, "unplaced", lambda events, *_: events)  # it would know an event that comes again
        for seed in range(SEEDS):
            patch.setattr(changelog, "PART", 60 if seed % 2 else 512 * 1024)
            try:
                check(test_storm.storm(seed, carrying=0.05 if seed % 4 < 2 else 0.4))
                test_deletes.check(test_deletes.storm(seed))
            except Exception as error:
                print(f"red in storm {seed}: {type(error).__name__}")
                return True
    return False


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_without_it_a_storm_goes_red(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out(rule, monkeypatch)
    assert red(), f"{SEEDS} storms are green without it"


IN_C = {
    "nothing": ("", ""),
    "3.1: an output that arrives again is known by its origin": (
        "if (compared < 0 || (compared == 0 && place <= self->marked)) return 0;", "(void)compared;",
    ),
    "3.1: watermarks are part of the state": ("keep_mark(self) < 0) return NULL;\n    return with_ref(Py_None);",
        "0) return NULL;\n    return with_ref(Py_None);"),
}  # fmt: skip
"""By its text, the code in native/entry.c that keeps a rule, and what is left without it."""


@pytest.mark.parametrize("rule", IN_C)
def test_without_it_in_c_a_storm_goes_red(rule: str, tmp_path: Path) -> None:
    kept, gone = IN_C[rule]
    package = shutil.copytree(build.FOLDER, tmp_path / "native")
    source = (package / "entry.c").read_text()
    assert source.count(kept) == 1 or not kept, f"the line that keeps the rule has moved: {rule}"
    (package / "entry.c").write_text(source.replace(kept, gone) if kept else source)
    subprocess.run([sys.executable, str(package / "build.py")], check=True, timeout=build.LIMIT)
    said = subprocess.run(
        [sys.executable, "-P", "-c", "from tests.property.test_rules import red; print(red())"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{build.FOLDER.parent}"},
        capture_output=True, text=True, check=True, timeout=build.LIMIT,
    )  # fmt: skip
    assert said.stdout.split()[-1] == str(rule != "nothing"), said.stdout
