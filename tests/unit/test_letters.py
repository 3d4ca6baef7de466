"""Too many records in a row that fail are not to blame; how often the worker is started changes nothing of that.

And a letter can be made of any record, whatever its headers, and of any error.
"""

from typing import Any

import pytest

from runtime.agent import MAX_RECORD, Agent, Emit, Record, State
from runtime.letters import dead_letter, replay_headers
from runtime.step import TooManyLetters
from runtime.testing import Run
from schemas.registry import DEAD_LETTER
from schemas.topics import DEAD_LETTERS, INGEST_EVENTS, WAGERS

LIMIT = 3


def _step(record: Any, state: State, emit: Emit) -> None:
    if record.value == b"poison":
        raise ValueError("poison")
    if record.value == b"large":
        state.put(b"last", bytes(MAX_RECORD))
    state.put(b"last", record.value)


def _run(*values: bytes, limit: int = LIMIT) -> Run:
    run = Run([Agent("any", WAGERS, _step, retention=1)], partitions=1, limit=limit)
    for value in values:
        run.append(WAGERS, b"k", value, 0)
    return run


def _letters(run: Run) -> list[int]:
    return [DEAD_LETTER.decode(record.value or b"")["offset"] for record in run.records(DEAD_LETTERS)]


@pytest.mark.parametrize("lose_disk", [False, True])
def test_a_new_start_does_not_count_anew(lose_disk: bool) -> None:
    run = _run(*[b"poison"] * 20)
    for _ in range(4):
        with pytest.raises(TooManyLetters, match=r"^4 records in a row failed in the agent any; wagers-0@3 with "):
            run.work("any")
        run.restart("any", lose_disk)
    assert _letters(run) == [0, 1, 2]


def test_one_that_does_not_fail_ends_the_row() -> None:
    run = _run(*[b"poison"] * 3, b"good", *[b"poison"] * 3, b"good")
    for _ in range(8):
        run.work("any", most=1)
        run.restart("any")
    assert _letters(run) == [0, 1, 2, 4, 5, 6]


def test_what_is_too_large_never_stops_the_worker_and_ends_no_row() -> None:
    run = _run(*[b"poison"] * 3, *[b"large"] * 20, b"poison", b"good")
    for _ in range(23):
        run.work("any", most=1)
        run.restart("any")
    assert _letters(run) == list(range(23))
    with pytest.raises(TooManyLetters, match=r"^4 records in a row failed in the agent any; wagers-0@23 with "):
        run.work("any", most=1)


def test_a_state_that_has_grown_too_large_never_stops_the_worker() -> None:
    def step(record: Any, state: State, emit: Emit) -> None:
        state.keep(record.key, bytes(MAX_RECORD), bytes)

    run = Run([Agent("any", WAGERS, step, retention=1)], partitions=1, limit=LIMIT)
    for _ in range(20):
        run.append(WAGERS, b"k", b"v", 0)
    run.work("any")
    assert _letters(run) == list(range(20))


def test_of_many_that_fail_each_is_not_looked_for_among_all_that_follow() -> None:
    calls = 0

    def step(record: Any, state: State, emit: Emit) -> None:
        nonlocal calls
        calls += 1
        if record.value == b"poison":
            emit.scratch["poison"] = True

    def close(state: State, emit: Emit) -> None:
        if emit.scratch:
            raise ValueError("poison")

    run = Run([Agent("any", WAGERS, step, close=close, retention=1)], partitions=1, limit=200)
    for value in [b"good"] * 100 + [b"poison"] * 200 + [b"good"] * 100:
        run.append(WAGERS, b"k", value, 0)
    run.work("any", batch=400)
    assert _letters(run) == list(range(100, 300))
    assert calls < 400 * 4


_AGENT = """
def looked_up(record):
    return {}[record.offset]

def step(record, state, emit):
    looked_up(record)
"""


def test_an_error_tells_the_line_of_the_agent() -> None:
    own: dict[str, Any] = {"__name__": "streams.agents.mine"}
    exec(_AGENT, own)
    run = Run([Agent("mine", WAGERS, own["step"])], partitions=1, limit=1)
    for _ in range(2):
        run.append(WAGERS, b"k", b"v", 0)
    with pytest.raises(TooManyLetters, match=r"@1 with KeyError: 1 \(streams\.agents\.mine:3\)$"):
        run.work("mine")
    (letter,) = run.records(DEAD_LETTERS)
    assert DEAD_LETTER.decode(letter.value or b"")["error"] == "KeyError: 0 (streams.agents.mine:3)"


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("\ud800 \U0001f600"), "ValueError: \\ud800 \U0001f600"),
        (_MuteError(), "_MuteError: its message cannot be told (RuntimeError)"),
    ],
)
def test_an_error_that_cannot_be_told_makes_a_letter_nevertheless(error: Exception, told: str) -> None:
    def step(record: Any, state: State, emit: Emit) -> None:
        raise error

    run = Run([Agent("any", WAGERS, step)], partitions=1, limit=2)
    for value in (b"v", None):
        run.broker.append(WAGERS.name, 0, b"k", value, (), 0)
    run.work("any")
    whole, empty = (DEAD_LETTER.decode(record.value or b"")["error"] for record in run.records(DEAD_LETTERS))
    assert whole == told
    assert empty == f"NoValue: the record has none ({told.partition(': ')[2]})"


@pytest.mark.parametrize("said", [b"abc", b"", None, b"-1", b"\xff", b"1_0", b"9" * 5000])
def test_a_strangers_header_is_no_number_of_replays(said: Any) -> None:
    record = Record(WAGERS.name, 0, 5, 0, b"k", b"x", (("attempts", said),))
    letter = dead_letter("pairing", record, 7, ValueError("x"))[1]
    assert DEAD_LETTER.decode(letter)["attempts"] == 0


def test_a_record_of_the_ingest_log_with_a_strangers_origin_keeps_its_place_when_replayed() -> None:
    record = Record(INGEST_EVENTS.name, 2, 5, 0, b"k", b"x", (("origin", b"garbage"),))
    place = (7, 2, 5)
    for offset in (5, 6, 7):
        id, value = dead_letter("dedup", record, 7, ValueError("x"))
        letter = DEAD_LETTER.decode(value)
        assert (letter["ingest_log"], letter["ingest_partition"], letter["ingest_offset"]) == place
        headers = [(each["key"], each["value"]) for each in letter["headers"]]
        again = replay_headers(id, "dedup", headers, place, 1)
        record = Record(INGEST_EVENTS.name, 2, offset + 1, 0, b"k", b"x", tuple(again))
