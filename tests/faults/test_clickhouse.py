"""The embedded ClickHouse under force: acknowledged rows survive SIGKILL, and it fails on purpose as told."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from embedded.clickhouse import ClickHouse


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouse]:
    server = ClickHouse(tmp_path, faults=True)
    server.start()
    _ask(server, "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    yield server
    server.kill()


def _ask(server: ClickHouse, body: str, **params: str) -> requests.Response:
    return requests.post(server.address, body, params=params, timeout=20)


def _fault(server: ClickHouse, *faults: dict[str, Any]) -> None:
    answer = requests.post(f"{server.address}/_fault", json=list(faults), timeout=30)
    assert answer.status_code == 200, answer.text


def _insert(server: ClickHouse, rows: str = "1\n") -> requests.Response:
    return _ask(server, rows, query="INSERT INTO t FORMAT TSV")


def _code(answer: requests.Response) -> str | None:
    return answer.headers.get("X-ClickHouse-Exception-Code")


def test_no_acknowledged_row_is_lost_at_sigkill(server: ClickHouse) -> None:
    acknowledged: list[int] = []

    def write() -> None:
        n = 0
        while True:
            block = "".join(f"{n + i}\n" for i in range(1000))
            try:
                if _insert(server, block).status_code != 200:
                    return
            except requests.RequestException:
                return
            acknowledged.append(n)
            n += 1000

    for _ in range(3):
        del acknowledged[:]
        _ask(server, "TRUNCATE TABLE t")
        writer = threading.Thread(target=write)
        writer.start()
        while len(acknowledged) < 30:
            assert writer.is_alive()
            time.sleep(0.01)
        server.kill()
        writer.join()
        server.start()
        stored = {int(line) for line in _ask(server, "SELECT a FROM t").text.split()}
        assert set(range(max(acknowledged) + 1000)) <= stored
        assert len(stored) % 1000 == 0  # a block is there whole or not at all
        assert _ask(server, "SELECT count() FROM t").text.strip() == str(len(stored))


def test_stops_in_order_while_a_query_runs(server: ClickHouse) -> None:
    slow = "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1"
    codes: list[str | None] = []
    thread = threading.Thread(target=lambda: codes.append(_code(_ask(server, slow, max_execution_time="2"))))
    thread.start()
    while _ask(server, "SELECT count() FROM system.processes").text != "2\n":
        assert thread.is_alive()
        time.sleep(0.02)
    process = server.process
    assert process is not None
    server.stop()
    thread.join()
    assert codes == ["159"]  # finished by its own limit, not cut off
    assert process.returncode == 0


def test_errors_by_code_for_inserts_into_one_table(server: ClickHouse) -> None:
    _fault(server, {"kind": "insert", "table": r"\bt\b", "code": 252, "times": 2})
    assert [_code(_insert(server)) for _ in range(3)] == ["252", "252", None]
    assert _ask(server, "SELECT count() FROM t").text == "1\n"
    _fault(server, {"kind": "insert", "table": "other", "code": 241})
    assert _code(_insert(server)) is None
    _fault(server, {"kind": "query", "code": 159, "times": 1})
    assert _code(_insert(server)) is None
    answer = _ask(server, "SELECT 1")
    assert (answer.status_code, _code(answer)) == (408, "159")


def test_an_answer_lost_after_the_insert(server: ClickHouse) -> None:
    _fault(server, {"kind": "insert", "when": "after", "drop": True, "times": 1})
    with pytest.raises(requests.ConnectionError):
        _insert(server)
    assert _ask(server, "SELECT count() FROM t").text == "1\n"
    _fault(server, {"kind": "insert", "when": "after", "code": 210, "times": 1})
    assert _code(_insert(server)) == "210"
    assert _ask(server, "SELECT count() FROM t").text == "2\n"


def test_a_delay_before_and_after(server: ClickHouse) -> None:
    for when in ("before", "after"):
        _fault(server, {"kind": "insert", "when": when, "delay": 0.4, "times": 1})
        began = time.monotonic()
        assert _insert(server).status_code == 200
        assert time.monotonic() - began >= 0.4


def test_a_statement_is_held_until_the_faults_are_taken_away(server: ClickHouse) -> None:
    _fault(server, {"kind": "insert", "hold": True, "times": 1})
    codes: list[str | None] = []
    thread = threading.Thread(target=lambda: codes.append(_code(_insert(server))))
    thread.start()
    while requests.get(f"{server.address}/_fault", timeout=30).json():
        time.sleep(0.02)
    assert _code(_insert(server)) is None  # another one passes
    assert _ask(server, "SELECT count() FROM t").text == "1\n"
    requests.delete(f"{server.address}/_fault", timeout=30)
    thread.join()
    assert (codes, _ask(server, "SELECT count() FROM t").text) == ([None], "2\n")


def test_faults_are_shown_taken_back_and_checked(server: ClickHouse) -> None:
    _fault(server, {"code": 242})
    assert _code(_insert(server)) == "242"
    assert [fault["code"] for fault in requests.get(f"{server.address}/_fault", timeout=30).json()] == [242]
    requests.delete(f"{server.address}/_fault", timeout=30)
    assert _code(_insert(server)) is None
    for wrong in ({"kind": "all"}, {"table": "("}, {"nonsense": 1}):
        assert requests.post(f"{server.address}/_fault", json=wrong, timeout=30).status_code == 400


def test_refuses_connections_for_a_while(server: ClickHouse) -> None:
    with requests.Session() as kept_open:
        assert kept_open.post(server.address, "SELECT 1", timeout=30).text == "1\n"
        requests.post(f"{server.address}/_fault", json={"refuse": 5.0}, timeout=30)
        began = time.monotonic()
        while server.is_ready():
            assert time.monotonic() - began < 5
        with pytest.raises(requests.ConnectionError):
            kept_open.post(server.address, "SELECT 1", timeout=30)
        while not server.is_ready():
            assert time.monotonic() - began < 60
            time.sleep(0.05)
        assert kept_open.post(server.address, "SELECT 1", timeout=30).text == "1\n"


def test_listens_on_loopback_only(server: ClickHouse) -> None:
    assert server.process is not None
    listening = [
        c.laddr.ip for c in psutil.Process(server.process.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]
