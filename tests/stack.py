"""`sluice` on a data folder and ports of its own, with real roles on real servers."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests

from embedded.place import free_port

START_LIMIT = 120.0


class Stack:
    """Start it with ``run("up", "--detach")``; ``kill`` whatever is left in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gateway, self.clickhouse, kafka = free_port(), free_port(), free_port()
        ports = {"GATEWAY_PORT": self.gateway, "CLICKHOUSE_PORT": self.clickhouse, "KAFKA_PORT": kafka}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
        self.base = {**kept, "SLUICE_DATA_DIR": str(folder)}
        self.environment = {**self.base, **{f"SLUICE_{name}": str(port) for name, port in ports.items()}}
        self.processes: set[psutil.Process] = set()

    def popen(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Starts a command that lasts."""
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *arguments],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.add(psutil.Process(process.pid))
        return process

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Runs a command that finds the stack by its data folder; `up` alone is told the ports."""
        given = self.environment if arguments[0] == "up" else self.base
        command = [sys.executable, "-m", "cli.main", *arguments]
        done = subprocess.run(
            command, env={**given, **environment}, capture_output=True, text=True, timeout=START_LIMIT, check=False
        )
        self.watch()
        return done.returncode, done.stdout + done.stderr

    def watch(self) -> None:
        """Notes every process that runs now, so that none can be left in the end."""
        try:
            supervisor = json.loads((self.folder / "stack.json").read_text())["supervisor"]["pid"]
            parent = psutil.Process(supervisor)
            self.processes |= {parent, *parent.children(recursive=True)}
        except (FileNotFoundError, psutil.NoSuchProcess):
            pass

    def status(self) -> dict[str, dict[str, Any]]:
        """By role."""
        _, output = self.run("status", "--json")
        return {row["role"]: row for row in json.loads(output)["roles"]}

    def left(self) -> list[psutil.Process]:
        """Processes that still run, after a moment."""
        return list(psutil.wait_procs(list(self.processes), timeout=30)[1])

    def kill(self) -> None:
        """Ends every process of it that still runs."""
        self.watch()
        for process in self.processes:
            if process.is_running():
                process.kill()

    def query(self, sql: str) -> list[list[Any]]:
        """Rows, as the analyst gets them; 64-bit numbers and decimals are texts."""
        url = f"http://127.0.0.1:{self.clickhouse}/?user=analyst&database=sluice"
        answer = requests.post(url, f"{sql} FORMAT JSONCompactStrings", timeout=30)
        assert answer.ok, answer.text
        rows: list[list[Any]] = answer.json()["data"]
        return rows

    def rows(self, where: str) -> int:
        """How many events ClickHouse has."""
        return int(self.query(f"SELECT count() FROM events WHERE {where}")[0][0])


def until(condition: Callable[[], Any], limit: float) -> None:
    """Returns once the condition holds; AssertionError after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
