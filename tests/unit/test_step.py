"""What a step that fails leaves behind: a dead letter, and nothing else."""

from typing import Any

import pytest

from runtime.agent import Agent, Emit, State
from runtime.testing import Run
from schemas.registry import DEAD_LETTER
from schemas.topics import DEAD_LETTERS, EVENTS

RECORDS = [b"a", b"b", b"bad", b"c", b"d"]


def noted(step: Any, batch: int) -> tuple[Any, list[str]]:
    """The fact that a step notes of its records, and the errors of their letters."""
    notes: list[Any] = []

    def noting(record: Any, state: State, emit: Emit) -> None:
        step(record, state)
        notes.append(state.meta["noted"])

    run = Run([Agent(name="notes", source=EVENTS, step=noting)], partitions=1)
    for value in RECORDS:
        run.append(EVENTS, b"k", value, 0)
        if value == b"a":
            run.work("notes", batch=batch)
    run.work("notes", batch=batch)
    return notes[-1], [DEAD_LETTER.decode(record.value or b"")["error"] for record in run.records(DEAD_LETTERS)]


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_facts_within_facts_are_as_before_the_step_that_failed(batch: int) -> None:
    def step(record: Any, state: State) -> None:
        facts = state.meta.setdefault("noted", {"records": 0})
        facts["records"] += 1
        if record.value == b"bad":
            raise ValueError("bad")

    assert noted(step, batch) == ({"records": 4}, ["ValueError: bad"])


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_a_fact_that_is_no_json_is_its_records_fault(batch: int) -> None:
    def step(record: Any, state: State) -> None:
        state.meta["noted"] = {b"no json"} if record.value == b"bad" else state.meta.get("noted", 0) + 1

    assert noted(step, batch) == (4, ["TypeError: Type is not JSON serializable: set"])
