"""`sluice demo` and `sluice send` on the whole stack: ClickHouse answers what the demo says, to the last digit. And on
what it has left: the requests and queries of the documents are answered as they say.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.stack import Stack, until

SETTLE = 60.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("demo") / "data")
    code, output = stack.run("up", "--detach")
    try:
        assert code == 0, output
        yield stack
    finally:
        stack.run("down")
        stack.kill()


def found(stack: Stack, tenant: str) -> dict[str, Any]:
    """What an analyst finds, in the shape in which the demo says what should be found."""
    where = f"WHERE tenant = '{tenant}'"

    def one(sql: str) -> list[int]:
        return [int(value) for value in stack.query(sql)[0]]

    def sums(sql: str) -> dict[str, Decimal]:
        return {currency: Decimal(amount) for currency, amount in stack.query(sql)}

    events, late = one(f"SELECT count(), countIf(is_late) FROM events {where}")
    statuses = dict(stack.query(f"SELECT status, count() FROM bets {where} GROUP BY status"))
    steps = ("impressions", "clicks", "conversions", "registrations")
    return {
        "events": events,
        "by_dialect": {
            name: int(count)
            for name, count in stack.query(
                f"SELECT dialect, count() FROM events {where} GROUP BY dialect ORDER BY dialect"
            )
        },
        "late": late,
        **{name: one(f"SELECT count() FROM {name} {where}")[0] for name in ("duplicates", "conflicts", "rejections")},
        "sessions": one(f"SELECT count() FROM sessions {where}")[0],
        "bets": {status: int(statuses.get(status, 0)) for status in ("open", "won", "lost", "orphaned")},
        "double_reported": one(f"SELECT countIf(has(anomalies, 'double_reported')) FROM bets {where}")[0],
        "ggr": sums(f"SELECT currency, sum(ggr) FROM ggr_daily {where} AND basis = 'settled' GROUP BY currency"),
        **{
            name: sums(
                f"SELECT currency, sum({name}) FROM player_daily {where} GROUP BY currency HAVING sum({name}) > 0"
            )
            for name in ("deposits", "withdrawals")
        },
        "funnel": dict(
            zip(steps, one(f"SELECT {', '.join(f'sum({s})' for s in steps)} FROM funnel_daily {where}"), strict=True)
        ),
    }


def expected(books: dict[str, Any]) -> dict[str, Any]:
    """What the demo says, in numbers; what makes no row is left out."""
    numbers = {name: value for name, value in books.items() if name != "replayed"}
    for name in ("ggr", "deposits", "withdrawals"):
        numbers[name] = {currency: Decimal(amount) for currency, amount in numbers[name].items()}
    return numbers


def settled(stack: Stack) -> None:
    """Waits until every event has been through every stage, and the audit balances."""
    until(lambda: {row["lag"] for row in stack.status().values()} <= {None, 0}, SETTLE)
    code, output = stack.run("audit", "--wait", str(SETTLE))
    assert code == 0, output


def demo(stack: Stack, *options: str) -> dict[str, dict[str, Any]]:
    """Runs it until everything has settled; what should be found, by tenant."""
    code, output = stack.run("demo", *options, "--json")
    assert code == 0, output
    report = json.loads(output)
    assert report["unexpected"] == report["doubtful_events"] == 0, report
    settled(stack)
    books: dict[str, dict[str, Any]] = report["expected"]
    return books


@pytest.mark.slow
def test_clickhouse_says_what_the_demo_says(stack: Stack) -> None:
    books = demo(stack, "--rate", "600", "--seconds", "6", "--tenants", "2", "--seed", "7")
    assert len(books) == 2
    for tenant, one in books.items():
        assert found(stack, tenant) == expected(one)
        assert one["events"] == 1800
        assert all(one["bets"].values())
    for name in ("late", "duplicates", "replayed", "conflicts", "rejections", "double_reported"):
        assert any(one[name] for one in books.values()), f"there was nothing of {name}"


@pytest.mark.slow
def test_a_recording_sent_again_adds_nothing_but_repeats(stack: Stack, tmp_path: Path) -> None:
    record = tmp_path / "requests.jsonl"
    ((tenant, books),) = demo(stack, "--rate", "300", "--seconds", "4", "--record", str(record)).items()
    before = found(stack, tenant)
    code, output = stack.run("send", str(record), "--tenant", tenant, "--concurrency", "4", "--json")
    assert code == 1, output  # the invalid requests were recorded too
    outcome = json.loads(output)
    assert outcome["sent"] == len(record.read_bytes().splitlines())
    assert outcome["sent"] - outcome["accepted"] == books["rejections"] == len(outcome["failures"])
    settled(stack)
    # what has a key that the gateway knows it answers by itself
    assert found(stack, tenant) == before | {
        "duplicates": 2 * before["duplicates"] + before["by_dialect"]["revosurge"],
        "conflicts": 2 * before["conflicts"],
        "rejections": 2 * before["rejections"],
    }


def test_the_key_of_a_run_is_gone_afterwards(stack: Stack) -> None:
    _, output = stack.run("keys", "list", "--json")
    assert {key["tenant"] for key in json.loads(output)["keys"]} == {"demo"}


def blocks(page: str, language: str) -> list[str]:
    """The code of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("sql", blocks("docs/warehouse.md", "sql"), ids=lambda sql: sql.split(" FROM ")[0][:40])
def test_a_query_of_the_documents_finds_something(stack: Stack, sql: str) -> None:
    assert stack.query(sql)


def test_the_readme_holds(stack: Stack) -> None:
    key = json.loads(stack.run("keys", "create", "--tenant", "demo", "--json")[1])["key"]
    request, query = (_here(stack, code, key) for code in blocks("README.md", "sh"))
    (answer,), (table,) = blocks("README.md", "json"), blocks("README.md", "text")
    until(lambda: "Invalid or missing API key" not in shell(request), 60)
    assert shell(request) == answer
    until(lambda: shell(query) == table, 60)


def _here(stack: Stack, code: str, key: str) -> str:
    """A shell script of the README, for this stack."""
    code = code.replace("localhost:8080", f"localhost:{stack.gateway}").replace("8123", str(stack.clickhouse))
    return code.replace("sluice_...", key)


def shell(script: str) -> str:
    """What it prints; one line end is at the end."""
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.rstrip("\n") + "\n"
