"""What runs on the data folder: each role with pid, state, restarts, address, and how many records it is behind.

Exit code 1 where one is not up.
"""

import argparse
import asyncio
import json as as_json
from typing import Any
from urllib.parse import urlsplit

from aiokafka.errors import KafkaError

from cli.lag import lags
from cli.reach import is_broker
from cli.roles import answers
from cli.stack import Role, Stack, read
from runtime.settings import Settings
from schemas.topics import TOPICS
from sinks.clickhouse import port_of
from streams.agents import exact_agents

ROLES = ("kafka", "clickhouse", "gateway", "worker", "sink")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def run(settings: Settings, json: bool = False) -> int:
    """Exit code: 0 where every role is up."""
    stack = read(settings.data_dir)
    rows = rows_of(settings, stack) if stack is not None else [_row(Role(role, "down"), "down") for role in ROLES]
    if json:
        print(as_json.dumps({"roles": rows}))
    else:
        _print(rows)
    return int(any(row["state"] != "up" for row in rows))


def rows_of(settings: Settings, stack: Stack) -> list[dict[str, Any]]:
    """A row for each role, as it is at this moment."""
    rows = [_row(role, state_of(role)) for role in stack.roles]
    missing = [role for role in ROLES if role not in {row["role"] for row in rows}]
    rows += [_row(Role(role), "down") for role in missing]
    if any(row["role"] == "kafka" and row["state"] == "up" for row in rows):
        behind = _lags(settings)
        for row in rows:
            row["lag"] = behind.get(row["role"])
    return rows


def state_of(role: Role) -> str:
    """up where it answers now, starting where it lives and does not (or not yet), else down."""
    if role.state == "outside":
        return "up" if _answers(role) else "down"
    if role.process is None or role.process.find() is None:
        return "down"
    return "up" if role.state == "up" and _answers(role) else "starting"


def _answers(role: Role) -> bool:
    if role.address is None:
        return False
    if role.role == "kafka":
        return any(is_broker(address) for address in role.address.split(","))
    url = urlsplit(role.address)
    if role.role == "clickhouse":
        secure = url.scheme == "https"
        return answers(url.hostname or "", url.port or port_of(url.scheme), "/ping", secure)
    return answers(url.hostname or "", url.port or 80, "/health")


def _row(role: Role, state: str) -> dict[str, Any]:
    return {
        "role": role.role,
        "pid": role.process.pid if role.process is not None and state != "down" else None,
        "state": state,
        "restarts": role.restarts,
        "address": role.address,
        "lag": None,
    }


def _lags(settings: Settings) -> dict[str, int]:
    """By role; a role's consumer group has the role's name."""
    groups = {
        "worker": {agent.source.name for agent in exact_agents(settings)},
        "sink": {topic.name for topic in TOPICS if topic.table},
    }
    try:
        return asyncio.run(lags(settings, groups))
    except (KafkaError, TimeoutError):
        return {}


def _print(rows: list[dict[str, Any]]) -> None:
    print(f"{'ROLE':<11} {'STATE':<9} {'PID':>8} {'RESTARTS':>9} {'LAG':>10}  ADDRESS")
    for row in rows:
        pid, lag = ("-" if row[name] is None else row[name] for name in ("pid", "lag"))
        left = f"{row['role']:<11} {row['state']:<9} {pid:>8} {row['restarts']:>9} {lag:>10}"
        print(f"{left}  {row['address'] or ''}".rstrip())
