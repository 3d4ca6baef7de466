"""`sluice up`, `status` and `down` with the real roles on real servers."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from embedded.kafka import Kafka
from tests.stack import START_LIMIT, Stack, until

ROLES = ["kafka", "clickhouse", "gateway", "worker", "sink"]
PACE = 0.092
"""What ``_pace`` takes where a start was measured at 8.2 to 9.0 s, with nothing else running."""


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "data")
    yield stack
    stack.kill()


def _send(stack: Stack, key: str, player: str) -> None:
    event: Any = {"event_type": "login", "identifiers": {"player_id": player}, "payload": {}}
    url, headers = f"http://127.0.0.1:{stack.gateway}/api/v1/event", {"X-API-Key": key}
    answer = requests.post(url, json=event, headers=headers, timeout=30)
    assert answer.ok, answer.text


@pytest.mark.slow
def test_the_whole_stack(stack: Stack) -> None:
    code, output = stack.run("up", "--detach")
    assert code == 0, output
    (key,) = re.findall(r"Demo key\s+(sluice_\S+)", output)
    assert f"http://127.0.0.1:{stack.gateway}" in output
    assert f"http://127.0.0.1:{stack.clickhouse}" in output

    code, output = stack.run("status", "--json")
    rows = json.loads(output)["roles"]
    assert code == 0
    assert [row["role"] for row in rows] == ROLES
    assert all(list(row) == ["role", "pid", "state", "restarts", "address", "lag"] for row in rows)
    assert {row["state"] for row in rows} == {"up"}
    assert [row["lag"] for row in rows] == [None, None, None, 0, 0]

    _send(stack, key, "first")
    until(lambda: stack.rows("player_id = 'first'") == 1, 60)

    code, output = stack.run("keys", "create", "--tenant", "found", "--json")  # by the data folder alone
    assert code == 0
    until(partial(_accepts, stack, json.loads(output)["key"], "found"), 60)

    code, output = stack.run("up")
    assert code == 2
    assert "is in use by another process" in output

    _kill_each_role(stack, key)

    code, output = stack.run("down")
    assert (code, stack.left()) == (0, [])
    code, output = stack.run("status")
    assert code == 1
    assert output.count("down") == 5
    assert stack.run("down")[1].startswith("Nothing runs on ")

    starts = []
    for _ in range(3):
        starts.append(_start(stack))
        assert stack.rows("player_id LIKE 'after-%'") == len(ROLES)
        stack.run("down")
        assert stack.left() == []
    assert min(starts) < 10, starts  # spec, operations.md


def _start(stack: Stack) -> float:
    """Seconds of a start on a machine that is as fast as the one it was measured on and has nothing else to do."""
    before, began = _machine(), time.monotonic()
    assert stack.run("up", "--detach")[0] == 0
    took, spent = time.monotonic() - began, _machine() - before
    roles = (psutil.Process(row["pid"]).cpu_times() for row in stack.status().values())
    others = max(0.0, spent - sum(float(times.user + times.system) for times in roles))
    slower = max(1.0, min(_pace() for _ in range(3)) / PACE)
    return (took - others / (os.cpu_count() or 1)) / slower


def _machine() -> float:
    """Seconds of all cores that were given to somebody, other guests of the host among them."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _pace() -> float:
    """Processor time of a fixed piece of work."""
    began, total = time.thread_time(), 0
    for number in range(3_000_000):
        total += number & 7
    return time.thread_time() - began


def _accepts(stack: Stack, key: str, player: str) -> bool:
    try:
        _send(stack, key, player)
    except AssertionError:
        return False
    return True


def _kill_each_role(stack: Stack, key: str) -> None:
    for role in ("worker", "sink", "gateway", "kafka", "clickhouse"):
        before = stack.status()[role]
        psutil.Process(before["pid"]).kill()
        until(partial(_restarted, stack, role), 60)
        until(lambda: stack.run("status")[0] == 0, 60)
        assert stack.status()[role]["pid"] != before["pid"]
        # a gateway that has just lost its broker answers 503 for a moment, as it should
        until(partial(_accepts, stack, key, f"after-{role}"), 60)
        until(partial(_has_row, stack, f"after-{role}"), 60)


def _restarted(stack: Stack, role: str) -> bool:
    return bool(stack.status()[role]["restarts"] == 1)


def _has_row(stack: Stack, player: str) -> bool:
    return stack.rows(f"player_id = '{player}'") == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.7, 2.0, 4.0, 7.0])
def test_ctrl_c_at_any_moment_leaves_no_process(stack: Stack, moment: float) -> None:
    process = stack.popen("up")
    deadline = time.monotonic() + moment
    while time.monotonic() < deadline:
        stack.watch()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    if moment == 4.0:
        process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    # Python itself was starting: it had no handler yet (130 is ours, -2 is Python's own, or the system's)
    early = process.returncode in (130, -signal.SIGINT) and not (stack.folder / "stack.json").exists()
    assert process.returncode == 0 or early, output
    assert "Traceback" not in output or early
    assert stack.left() == []


@pytest.mark.slow
def test_a_killed_supervisor_takes_everything_with_it(stack: Stack) -> None:
    assert stack.run("up", "--detach")[0] == 0
    stack.watch()
    supervisor = json.loads((stack.folder / "stack.json").read_text())["supervisor"]["pid"]
    psutil.Process(supervisor).kill()
    assert stack.left() == []
    assert stack.run("status")[0] == 1
    assert stack.run("down")[1].startswith("Nothing runs on ")


@pytest.mark.slow
def test_runs_on_when_nobody_listens_any_more(stack: Stack) -> None:
    process = stack.popen("up")
    assert process.stdout is not None
    assert process.stdout.readline()
    process.stdout.close()
    until(lambda: stack.run("status")[0] == 0, START_LIMIT)
    assert stack.run("down")[0] == 0
    process.wait(START_LIMIT)
    assert stack.left() == []


def test_what_stands_in_the_way_is_one_sentence(stack: Stack, tmp_path: Path) -> None:
    with_port = {"SLUICE_GATEWAY_PORT": str(stack.clickhouse)}
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.clickhouse))
        other.listen()
        code, output = stack.run("up", **with_port)
    assert (code, output.count("\n")) == (2, 1)
    assert f"Port {stack.clickhouse} for the gateway is taken by another program" in output

    code, output = stack.run("up", SLUICE_GATEWAY_PORT=str(stack.clickhouse))
    assert (code, output.count("\n")) == (2, 1)
    assert f"Port {stack.clickhouse} is given to the gateway and to ClickHouse" in output

    code, output = stack.run("up", SLUICE_LEAST_DISK=str(1 << 60))
    assert (code, output.count("\n")) == (2, 1)
    assert output.startswith("Too little disk space for ")

    occupied = tmp_path / "file"
    occupied.touch()
    code, output = stack.run("up", SLUICE_DATA_DIR=str(occupied))
    assert (code, output.count("\n")) == (2, 1)
    assert "cannot be used" in output

    code, output = stack.run("up", "--gateway-port", "no", "--workers", "65")
    assert code == 2
    assert "gateway-port" in output
    assert "workers" in output


@pytest.mark.slow
def test_outside_servers_replace_the_embedded_ones(
    stack: Stack, tmp_path: Path, clickhouse: str, namespace: str
) -> None:
    with Kafka(tmp_path / "outside") as kafka:
        outside = {
            "SLUICE_KAFKA": kafka.address,
            "SLUICE_CLICKHOUSE": clickhouse,
            "SLUICE_CLICKHOUSE_DATABASE": namespace,
            "SLUICE_PARTITIONS": "2",
            "SLUICE_WORKERS": "2",
        }
        code, output = stack.run("up", "--detach", **outside)
        assert code == 0, output
        code, output = stack.run("status", "--json")
        rows = json.loads(output)["roles"]
        assert code == 0, output
        assert [row["role"] for row in rows] == ["kafka", "clickhouse", "gateway", "worker", "worker", "sink"]
        assert [row["pid"] for row in rows[:2]] == [None, None]
        assert [row["address"] for row in rows[:2]] == [kafka.address, clickhouse]
        assert stack.run("down")[0] == 0
        assert stack.left() == []
        code, output = stack.run("up", **outside | {"SLUICE_PARTITIONS": "3"})
        assert code == 2
        assert "has 2 partitions, not 3" in output
        assert stack.left() == []
