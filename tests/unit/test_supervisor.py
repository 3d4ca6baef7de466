"""The supervisor with stub children in a process of its own: order, restarts, signals at every moment, no orphans."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli.stack import Stack, read

STUBS = '''
import os, subprocess, sys, threading, time
from pathlib import Path
from cli.child import Child, Program
from cli.childlog import ChildLog
from cli.stack import Process, Role, Stack
from cli.supervisor import Interrupted, StartFailed, Supervisor
from runtime.leash import leashed

folder = Path(sys.argv[1])
WELL = """
import signal, sys, time
from pathlib import Path
name, folder = sys.argv[1], Path(sys.argv[2])
def stop(*_):
    time.sleep(0.1)
    with open(folder / "stopped", "a") as file: file.write(name + "\\\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(folder / name).touch()
while True: time.sleep(60)
"""
DEAF = WELL.replace("def stop(*_):", "def stop(*_):\\n    return\\ndef other(*_):")

def child(name, code=WELL, stop_limit=10.0, role=None):
    def spawn():
        command = leashed([sys.executable, "-c", code, name, str(folder)])
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, process_group=0)
    def ready():
        return (folder / name).exists()
    return Child(Role(role or name), Program(spawn, ready, stop_limit), ChildLog(folder / f"{name}.log"))

supervisor = Supervisor(Stack(Process.of(os.getpid()), "starting"), folder, lambda line: print(line, flush=True))
supervisor.listen()
ORDER = (("a",), ("b", "c"), ("d",))
try:
    BODY
    supervisor.stack.phase = "up"
    supervisor.watch()
except Interrupted:
    print("interrupted", flush=True)
except StartFailed as error:
    print(f"failed with {error.code}: {error}", flush=True)
finally:
    supervisor.stop(ORDER)
    print("stopped", flush=True)
if supervisor.left_behind:
    os._exit(0)
'''


class Running:
    def __init__(self, folder: Path, body: str) -> None:
        self.folder = folder
        body = body.replace("\n", "\n    ")
        self.process = subprocess.Popen(
            [sys.executable, "-c", STUBS.replace("BODY", body), str(folder)], stdout=subprocess.PIPE, text=True
        )
        self._seen: set[int] = set()

    def stack(self) -> Stack | None:
        found = read(self.folder)
        if found is not None:
            self._seen |= {role.process.pid for role in found.roles if role.process is not None}
        return found

    def until(self, condition: Callable[[Stack], Any], limit: float = 60) -> Stack:
        deadline = time.monotonic() + limit
        while True:
            found = self.stack()
            if found is not None and condition(found):
                return found
            assert time.monotonic() < deadline, found
            assert self.process.poll() is None, self.process.stdout and self.process.stdout.read()
            time.sleep(0.02)

    def pid(self, role: str) -> int:
        found = self.until(lambda stack: any(r.role == role and r.process for r in stack.roles))
        (process,) = [r.process for r in found.roles if r.role == role]
        assert process is not None
        return process.pid

    def end(self, limit: float = 60) -> str:
        """What it said, once it has ended; no child may be left."""
        output, _ = self.process.communicate(timeout=limit)
        deadline = time.monotonic() + 60
        while left := [pid for pid in self._seen if psutil.pid_exists(pid)]:
            assert time.monotonic() < deadline, left
            time.sleep(0.02)
        return output

    def stopped(self) -> list[str]:
        return (self.folder / "stopped").read_text().split()


Run = Callable[[str], Running]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started: list[Running] = []

    def start(body: str) -> Running:
        started.append(Running(tmp_path, body))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.communicate()


ALL = """supervisor.start([child('d')], 10)
supervisor.start([child('b'), child('c')], 10)
supervisor.start([child('a')], 10)"""
HANGS = "child('b', 'import time; time.sleep(60)')"


def _all_up(stack: Stack) -> bool:
    return stack.phase == "up" and len(stack.roles) == 4 and all(role.state == "up" for role in stack.roles)


def test_stops_in_order_group_by_group(run: Run) -> None:
    running = run(ALL)
    running.until(_all_up)
    running.process.send_signal(signal.SIGTERM)
    assert running.end().endswith("stopped\n")
    first, *middle, last = running.stopped()
    assert (first, sorted(middle), last) == ("a", ["b", "c"], "d")
    found = running.stack()
    assert found is not None
    assert {role.state for role in found.roles} == {"down"}
    assert not found.runs()


def test_what_dies_is_started_again(run: Run) -> None:
    running = run(ALL)
    running.until(_all_up)
    before = running.pid("b")
    psutil.Process(before).kill()
    again = running.until(lambda stack: _all_up(stack) and any(role.restarts for role in stack.roles))
    assert {role.role: role.restarts for role in again.roles} == {"a": 0, "b": 1, "c": 0, "d": 0}
    assert running.pid("b") != before
    running.process.send_signal(signal.SIGINT)
    assert "b was ended by SIGKILL; it is started again in 0.5 s\n" in running.end()


@pytest.mark.parametrize("moment", ["work", "child", "before"])
def test_a_signal_during_the_start(run: Run, moment: str) -> None:
    body = {
        "work": "supervisor.start([child('d')], 10)\nsupervisor.wait_for(lambda: time.sleep(60))",
        "child": f"supervisor.start([child('d')], 10)\nsupervisor.start([{HANGS}], 60)",
        "before": "print('here', flush=True)\ntime.sleep(1)\nsupervisor.start([child('d')], 10)",
    }[moment]
    running = run(body)
    if moment == "before":
        assert running.process.stdout is not None
        running.process.stdout.readline()
    else:
        running.until(lambda stack: any(role.state == "up" for role in stack.roles))
        running.pid("b" if moment == "child" else "d")
    began = time.monotonic()
    running.process.send_signal(signal.SIGINT)
    assert running.end().endswith("interrupted\nstopped\n")
    assert time.monotonic() - began < 30
    assert running.process.returncode == 0


def test_pressed_twice_kills_what_does_not_end(run: Run) -> None:
    running = run("supervisor.start([child('d'), child('a', DEAF, 60.0)], 10)")
    running.until(lambda stack: stack.phase == "up")
    running.pid("a")
    running.process.send_signal(signal.SIGINT)
    running.until(lambda stack: stack.phase == "stopping")
    running.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    assert running.end().endswith("stopped\n")
    assert time.monotonic() - began < 30


def test_what_does_not_end_in_its_time_is_killed(run: Run) -> None:
    running = run("supervisor.start([child('a', DEAF, 0.5)], 10)")
    running.until(lambda stack: stack.phase == "up")
    running.pid("a")
    running.process.send_signal(signal.SIGTERM)
    assert running.end().endswith("stopped\n")


def test_a_frozen_child_is_stopped_too(run: Run) -> None:
    running = run("supervisor.start([child('a')], 10)")
    running.until(lambda stack: stack.phase == "up")
    psutil.Process(running.pid("a")).suspend()
    running.process.send_signal(signal.SIGTERM)
    running.end()
    assert running.stopped() == ["a"]


def test_children_end_with_a_killed_supervisor(run: Run) -> None:
    running = run(ALL)
    running.until(_all_up)
    running.process.kill()
    running.end()


@pytest.mark.parametrize(("exits", "code"), [(2, 2), (1, 1)])
def test_a_child_that_cannot_start_ends_the_start(run: Run, exits: int, code: int) -> None:
    broken = f"print('the port is taken'); raise SystemExit({exits})"
    running = run(f"supervisor.start([child('d')], 10)\nsupervisor.start([child('a', {broken!r})], 10)")
    output = running.end()
    assert f"failed with {code}: a did not start." in output
    assert "the port is taken" in output
    assert running.stopped() == ["d"]


def test_a_child_that_is_never_ready(run: Run) -> None:
    running = run(f"supervisor.start([{HANGS}], 0.5)")
    assert "failed with 1: b was not ready within 0.5 s" in running.end()


def test_the_state_holds_no_secret(tmp_path: Path) -> None:
    from cli.stack import Process, shareable
    from runtime.settings import load

    settings = load(data_dir=tmp_path, clickhouse_password="hidden", redis="redis://:hidden@host", gateway_port=1234)
    Stack(Process(1, 1.0), "up", shareable(settings)).write(tmp_path)
    text = (tmp_path / "stack.json").read_text()
    assert "hidden" not in text
    assert json.loads(text)["settings"]["gateway_port"] == 1234
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_goes_on_where_its_state_cannot_be_written(run: Run, tmp_path: Path) -> None:
    body = """supervisor.start([child('a')], 10)
folder.joinpath('.stack.json').mkdir()
os.kill(supervisor.children[0].process.pid, 9)
while not supervisor.children[0].role.restarts:
    supervisor._look()
(folder / '.stack.json').rmdir()"""
    running = run(body)
    running.until(lambda stack: stack.phase == "up" and stack.roles[0].state == "up" and stack.roles[0].restarts == 1)
    running.process.send_signal(signal.SIGTERM)
    assert "What runs cannot be noted in" in running.end()
    assert running.stopped() == ["a"]
