"""`sluice trace` on the whole pipeline: every stage that an id has reached, and nothing of another one."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from cli import trace
from runtime.settings import load
from schemas import money
from schemas.keys import uuid7_bytes, uuid_text
from schemas.registry import EVENT, REJECTION
from schemas.topics import REJECTIONS
from tests.events import event
from tests.gateways import JSON, adwize, gateway, make_key
from tests.kafka import produce_records
from tests.sinks import until
from tests.whole import Whole, whole


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("trace")) as found:
        yield found


def test_trace_shows_no_letter_of_another_event(stack: Whole) -> None:
    other = event(event_name="bet", transaction_id="mine-10", currency="SEK", dedup="mine-10", amount=5)
    mine = event(event_name="bet", transaction_id="mine-1", dedup="mine-1", amount=5)
    stack.pipeline.ingest([mine, other])
    stack.settled()
    find = "SELECT ingest_log, ingest_partition, ingest_offset FROM events WHERE transaction_id = 'mine-10'"
    (row,) = stack.warehouse.rows(find)
    stack.bury("pairing", row, EVENT.encode(other))
    for wanted, stages in (
        ("mine-1", ["events", "bets"]),
        ("mine-10", ["events", "bets", "dead_letters"]),
        ("SEK", []),
        ("mine", []),
        (uuid_text(other["event_id"]).upper(), ["events", "bets", "dead_letters"]),
    ):
        steps = stack.quietly("trace", wanted, "--json")[1]["steps"]
        assert [step["stage"] for step in steps if step["stage"] != "sessions"] == stages, wanted


def test_trace_tells_every_stage(stack: Whole) -> None:
    bet = event(event_name="bet", amount=5, transaction_id="trace-1", player_id="t", dedup="trace", currency="USD")
    again = dict(bet)
    other = dict(bet) | {"fingerprint": b"f" * 16, "payload": b"other"}
    stack.pipeline.ingest([bet, again, other])
    assert stack.balance(60)["balanced"]
    for wanted in ("trace-1", uuid_text(bet["event_id"])):
        until(lambda: len(stack.quietly("trace", "trace-1", "--json")[1]["steps"]) == 5, 60)
        code, found, _ = stack.quietly("trace", wanted, "--json")
        stages = [step["stage"] for step in found["steps"]]
        assert (code, stages) == (0, ["events", "duplicates", "conflicts", "bets", "sessions"])
    for step in found["steps"]:
        times = {name: value for name, value in step["row"].items() if name.endswith("_at") and value is not None}
        assert times, step
        assert {name for name, text in times.items() if not text.endswith("+00:00")} == set(), step
        if "received_at" in times:
            assert datetime.fromisoformat(times["received_at"]).timestamp() * 1000 == bet["received_at"]
    _, _, printed = stack.quietly("trace", "trace-1")
    assert "bet trace-1 is open" in printed
    assert "dropped by dedup: the key was seen before at ingest.events-" in printed
    assert "with another payload" in printed
    code, _, printed = stack.quietly("trace", "' OR 1 --")
    assert (code, "nothing bears the id" in printed) == (1, True)


def test_a_rejection_bears_an_id_that_its_body_holds_as_a_word(stack: Whole) -> None:
    for body in (
        b'{"transaction_id":"word-10"}',
        b'{"transaction_id":"word.1","amount":"x"}',
        b"{word-1: \xff",
        b"word-12",
    ):
        refused = {
            "rejection_id": uuid7_bytes(), "received_at": 1_767_225_600_000, "tenant": "acme", "dialect": "revosurge",
            "route": "POST", "status": 400, "errors": "[]", "detail": body.decode("latin-1"), "body": body,
            "request_id": "r",
        }  # fmt: skip
        produce_records(stack.kafka, [(REJECTIONS.name, 0, b"k", REJECTION.encode(refused), [])])
    until(lambda: stack.quietly("trace", "word-12", "--json")[1]["steps"], 60)
    for wanted, told in (
        ("word-1", ["{word-1: \xff"]),
        ("word.1", ['{"transaction_id":"word.1","amount":"x"}']),
        ("ord-1", []),
    ):
        code, found, _ = stack.quietly("trace", wanted, "--json")
        assert (code, [step["row"]["detail"] for step in found["steps"]]) == (0 if told else 1, told)


def test_trace_of_an_event_shows_its_own_bet(stack: Whole) -> None:
    """A settlement's is its parent's, in its own workspace; amounts are told in plain digits."""
    small = {"amount": money.to_bytes(1), "currency": "USD"}
    bet = event(event_name="bet", transaction_id="own-1", dedup="own-bet", **small)
    win = event(event_name="win", transaction_id="own-2", parent_transaction_id="own-1", dedup="own-win", **small)
    elsewhere = event(event_name="bet", transaction_id="own-1", tenant="other", dedup="own-other", **small)
    stack.pipeline.ingest([bet, win, elsewhere])
    assert stack.balance(60)["balanced"]
    for each in (bet, win):
        _, found, _ = stack.quietly("trace", uuid_text(each["event_id"]), "--json")
        (row,) = [step["row"] for step in found["steps"] if step["stage"] == "bets"]
        assert (row["tenant"], row["bet_id"], row["status"]) == (bet["tenant"], "own-1", "won")
        assert (row["stake"], row["payout"]) == ("0.000000000000000001", "0.000000000000000002")


def test_trace_tells_what_a_conversion_is_credited_to(stack: Whole) -> None:
    click = event(event_name="click", click_id="trace-c", campaign="spring", dedup="trace-click")
    signup = event(event_name="signup", click_id="trace-c", player_id="t", dedup="trace-signup")
    stack.pipeline.ingest([signup, click])
    assert stack.balance(60)["balanced"]
    for each in (click, signup):
        _, found, _ = stack.quietly("trace", uuid_text(each["event_id"]), "--json")
        (what,) = [step["what"] for step in found["steps"] if step["stage"] == "attributions"]
        assert what == "the signup is credited to a click by click_id"


def test_what_was_refused_for_an_idempotency_key_is_found_by_it(stack: Whole, tmp_path: Path) -> None:
    """No other part of a rejection has a header's key; none is found by a part of its key."""
    key, parts = 'retry: "7"', ("retry", '"7"', "another", "Idempotency-Key")
    with gateway(stack.kafka, tmp_path) as one:
        sent = {"x-api-key": make_key(stack.kafka, [one], tenant="keyed"), "idempotency-key": key} | JSON
        answers = [
            httpx.post(f"{one.url}/api/v1/events", headers=sent, content=adwize(name), timeout=30) for name in "aab"
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 422]
        # before the gateway is killed: it writes rejections behind their answers
        until(lambda: stack.count("rejections", "tenant = 'keyed'") and stack.count("events", "tenant = 'keyed'"), 60)
    _, found, _ = stack.quietly("trace", key, "--json")
    assert [step["stage"] for step in found["steps"]] == ["events", "rejections"]
    assert found["steps"][1]["what"].startswith("refused by the gateway with 422: this idempotency key was used with")
    for part in parts:
        assert stack.quietly("trace", part, "--json")[1]["steps"] == [], part


def test_an_idempotency_key_is_found(stack: Whole) -> None:
    stack.pipeline.ingest([event(idempotency_key="idem-1", dedup="idem", properties="[]", player_id=None)])
    assert stack.balance(60)["balanced"]
    _, found, _ = stack.quietly("trace", "idem-1", "--json")
    assert [step["stage"] for step in found["steps"]] == ["dead_letters"]
    assert "stopped at sink.events (waiting)" in found["steps"][0]["what"]
    assert EVENT.latest.number >= 1


def test_what_one_server_knows_is_told_where_the_other_is_frozen(
    stack: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    """It accepts connections and answers nothing; a query would be waited for for minutes."""
    stack.pipeline.ingest([event(event_name="bet", amount=5, transaction_id="before", dedup="before")])
    assert stack.balance(60)["balanced"]
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        nobody = f"127.0.0.1:{frozen.getsockname()[1]}"
        stack.worker.signal(signal.SIGSTOP)
        try:
            stack.pipeline.ingest([event(event_name="bet", amount=5, transaction_id="behind", dedup="behind")])
            for wanted, found in (("behind", True), ("nowhere", False)):
                began = time.monotonic()
                assert trace.run(load(kafka=stack.kafka, clickhouse=f"http://{nobody}"), wanted) == 1
                assert time.monotonic() - began < 30
                output = capsys.readouterr()
                assert f"ClickHouse at http://{nobody} does not answer" in output.err
                assert ("waiting for the worker" in output.out) is found
                assert "nothing bears the id" not in output.out
        finally:
            stack.worker.signal(signal.SIGCONT)
        assert trace.run(load(kafka=nobody, clickhouse=stack.clickhouse.address), "before", json=True) == 1
        output = capsys.readouterr()
        assert f"Kafka at {nobody} does not answer" in output.err
        told = json.loads(output.out)
        assert told["complete"] is False
        assert told["steps"][0]["stage"] == "events"
