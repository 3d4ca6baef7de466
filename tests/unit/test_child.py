"""A child's life: ready, ended, started again with growing delays, stopped. With stub programs and a clock by hand."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.child import FIRST_DELAY, LONGEST_DELAY, STEADY, Child, Program
from cli.childlog import ChildLog
from cli.stack import Role
from embedded.place import PlaceError

SLEEPS = "import time; time.sleep(60)"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


Make = Callable[..., Child]


@pytest.fixture
def make(tmp_path: Path, clock: Clock) -> Iterator[Make]:
    made: list[Child] = []

    def child(code: str, is_ready: Callable[[], bool] = lambda: True, stop_limit: float = 5) -> Child:
        def spawn() -> subprocess.Popen[bytes]:
            return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        program = Program(spawn, is_ready, stop_limit)
        made.append(Child(Role("stub"), program, ChildLog(tmp_path / "stub.log"), clock))
        return made[-1]

    yield child
    for one in made:
        one.kill()
        if one.process is not None:
            one.process.wait()
        one.log.close()


def _run_out(child: Child) -> str:
    assert child.process is not None
    child.process.wait(10)
    sentence = child.tick()
    assert sentence is not None
    return sentence


def test_is_up_once_it_is_ready(make: Make) -> None:
    ready = False
    child = make(SLEEPS, lambda: ready)
    child.start()
    assert child.tick() is None
    assert child.role.state == "starting"
    ready = True
    assert child.tick() == "stub is up"
    assert child.tick() is None
    assert child.role.state == "up"
    assert child.role.process is not None
    assert child.role.process.find() is not None


def test_is_started_again_with_growing_delays(make: Make, clock: Clock) -> None:
    child = make("raise SystemExit(3)")
    child.start()
    delays = []
    for restarts in range(1, 10):
        assert "stub ended with exit code 3" in _run_out(child)
        assert (child.role.restarts, child.role.state, child.exit_code) == (restarts, "restarting", 3)
        before = clock.now
        while child.process is None:
            assert child.tick() is None
            if child.process is None:
                clock.now += FIRST_DELAY / 2
        delays.append(clock.now - before)
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert delays[-1] == LONGEST_DELAY


def test_the_delay_begins_anew_after_it_ran_for_a_while(make: Make, clock: Clock) -> None:
    child = make("pass")
    child.start()
    _run_out(child)
    clock.now += FIRST_DELAY
    child.tick()
    clock.now += STEADY
    assert f"again in {FIRST_DELAY:g} s" in _run_out(child)


def test_says_by_which_signal_it_ended(make: Make) -> None:
    child = make(SLEEPS)
    child.start()
    child.kill()
    assert "stub was ended by SIGKILL" in _run_out(child)


def test_what_cannot_be_started_again_is_tried_later(tmp_path: Path, clock: Clock) -> None:
    def spawn() -> subprocess.Popen[bytes]:
        raise PlaceError("the port is taken")

    log = ChildLog(tmp_path / "stub.log")
    child = Child(Role("stub"), Program(spawn, lambda: True, 1), log, clock)
    with pytest.raises(PlaceError):
        child.start()
    child.role.state = "restarting"
    sentence = child.tick()
    assert sentence == "stub cannot be started (the port is taken); it is started again in 0.5 s"
    assert child.tick() is None
    clock.now += FIRST_DELAY
    assert "again in 1 s" in (child.tick() or "")
    log.close()


def test_an_end_that_was_asked_for_is_no_restart(make: Make) -> None:
    child = make(SLEEPS)
    child.start()
    child.terminate()
    deadline = time.monotonic() + 60
    while not child.gone():
        assert time.monotonic() < deadline
    assert (child.role.state, child.role.restarts, child.role.process) == ("down", 0, None)
    assert child.tick() is None


def test_the_log_keeps_everything_in_bounded_space(tmp_path: Path) -> None:
    shown: list[str] = []
    log = ChildLog(tmp_path / "logs" / "stub.log", shown.append, limit=1000)
    code = "for n in range(200): print(f'line {n}')\nimport os; os.write(1, b'\\xff no end')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    log.follow(process.stdout).join(10)
    process.wait()
    log.close()
    assert shown == [*(f"line {n}" for n in range(200)), "\\xff no end"]
    kept = [log.path.with_name("stub.log.1"), log.path]
    assert all(path.stat().st_size <= 1000 for path in kept)
    assert sorted(path.name for path in log.path.parent.iterdir()) == ["stub.log", "stub.log.1"]
    text = b"".join(path.read_bytes() for path in kept)
    assert text.endswith(b"line 199\n\xff no end")
