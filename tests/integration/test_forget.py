"""`sluice forget` on the whole pipeline: the person is nowhere, sums stay, and nothing brings the person back."""

import json
import random
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from runtime.agent import Record
from runtime.forgotten import Forgotten
from runtime.letters import dead_letter
from schemas.keys import uuid7_bytes
from schemas.registry import EVENT, REJECTION
from schemas.topics import DEAD_LETTERS, REJECTIONS
from sinks.forgetting import Forgetting
from tests.events import T0, event
from tests.kafka import produce_records
from tests.sinks import until
from tests.traffic import traffic
from tests.whole import Whole, whole

PLAYER = 'zoë-1815 "quoted"'
OTHER = "p1"
ESCAPED = [json.dumps(PLAYER, ensure_ascii=ascii)[1:-1] for ascii in (True, False)]
MARKS = (PLAYER, *ESCAPED, "dev-zoe", "203.0.113.77", "Zoe's browser", "clk-zoe")
SUMS = {
    "ggr": "SELECT * FROM ggr_daily ORDER BY ALL",
    "players": "SELECT day, tenant, currency, bets, stake, payout, ggr, deposits, withdrawals, sessions, active_seconds"
    " FROM player_daily ORDER BY ALL",
    "sessions": "SELECT tenant, started_at, ended_at, events, bets, stake FROM sessions ORDER BY ALL",
    "results": "SELECT tenant, currency, started_at, bets, stake, payout FROM session_results ORDER BY ALL",
    "bets": "SELECT tenant, bet_id, status, stake, payout, ggr FROM bets ORDER BY ALL",
    "funnel": "SELECT * FROM funnel_daily ORDER BY ALL",
    "attributions": "SELECT tenant, conversion_id, campaign, touched_at FROM attributions ORDER BY ALL",
    "quality": "SELECT hour, tenant, dialect, accepted, stored, duplicates, conflicts, rejected FROM data_quality"
    " ORDER BY ALL",
}
OWN = {"player_id": PLAYER, "device_id": "dev-zoe", "ip_address": "203.0.113.77", "user_agent": "Zoe's browser"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("forget"), "pairing") as found:
        yield found


def life(start: int, tenant: str = "acme") -> list[dict[str, Any]]:
    """What a person does, some of it twice, with traces of who it is everywhere."""
    found = []
    for nth in range(start, start + 12):
        name = ["session_start", "deposit", "bet", "win", "click", "registration"][nth % 6]
        own = OWN | {
            "click_id": "clk-zoe",
            "properties": json.dumps({"name": PLAYER}),
            "idempotency_key": f"{PLAYER}-{nth}",
        }
        money = {"amount": nth + 1, "currency": "EUR"} if name in ("deposit", "bet", "win") else {}
        ids = {"transaction_id": f"z{nth}"} | ({"parent_transaction_id": f"z{nth - 1}"} if name == "win" else {})
        found.append(
            event(
                event_name=name,
                event_time=T0 + nth * 1000,
                dedup=f"{PLAYER}/{nth}",
                tenant=tenant,
                **own,
                **money,
                **ids,
            )
        )
    return found + [dict(each) for each in found[:3]] + [_other(each) for each in found[:2]]


def _other(first: dict[str, Any]) -> dict[str, Any]:
    return dict(first) | {"fingerprint": b"f" * 16, "payload": json.dumps({"player": PLAYER}).encode()}


def reject(stack: Whole, *bodies: bytes) -> None:
    """Refused requests."""
    records: list[tuple[str, int, bytes, bytes | None, list[Any]]] = []
    for body in bodies:
        fields = {
            "rejection_id": uuid7_bytes(), "received_at": T0, "tenant": "acme", "dialect": "revosurge", "route": "POST",
            "status": 400, "errors": "[]", "detail": "no", "body": body, "request_id": "r",
        }  # fmt: skip
        records.append((REJECTIONS.name, 0, b"k", REJECTION.encode(fields), []))
    produce_records(stack.kafka, records)


def settle(stack: Whole) -> dict[str, Any]:
    """Everything is stored, and it balances."""
    found = stack.audit()
    until(lambda: not stack.pipeline.lag() and stack.audit()["derived"] is not None, 60)
    return found


def sums(stack: Whole) -> dict[str, list[Any]]:
    """What must not change."""
    return {name: list(stack.warehouse.client.query(sql).result_rows) for name, sql in SUMS.items()}


def traces(stack: Whole) -> list[str]:
    """Every stored row, of every version, that tells who it was."""
    found = []
    for (table,) in stack.warehouse.client.query("SHOW TABLES LIKE '%_rows'").result_rows:
        text = stack.warehouse.client.raw_query(f"SELECT * FROM {table} FORMAT JSONEachRow").decode(errors="replace")
        for line in text.splitlines():
            plain = json.dumps(json.loads(line), ensure_ascii=False)
            found += [f"{table}: {line}" for mark in MARKS if mark in plain or mark in line]
    return found


def forget(stack: Whole, *options: str) -> dict[str, Any]:
    code, found, printed = stack.sluice("forget", "--player", PLAYER, *options, "--json")
    assert code == 0, printed
    return found  # type: ignore[no-any-return]


def letter_of(fields: dict[str, Any], value: bytes, offset: int) -> tuple[str, int, bytes, bytes, list[Any]]:
    """A dead letter of a later stage."""
    record = Record("events", 0, offset, T0, fields["identity"].encode(), value)
    key, letter = dead_letter("sessions", record, 7, ValueError(f"cannot place {PLAYER}"))
    return DEAD_LETTERS.name, 0, key, letter, []


def test_a_person_is_taken_out_and_sums_stay(stack: Whole) -> None:
    stack.pipeline.ingest(traffic(random.Random(3), 300) + life(0) + life(0, "beta"))
    poisoned = event(event_name="bet", amount=5, transaction_id="poison-z", dedup="poison", currency="EUR", **OWN)
    stack.pipeline.ingest([poisoned])
    stack.letters(1, "--stage", "pairing")
    mine, cut = life(0)[0], EVENT.encode(life(0)[1])[:-9]
    produce_records(stack.kafka, [letter_of(mine, EVENT.encode(mine), 1), letter_of(mine, cut, 2)])
    bodies = [json.dumps({"player_id": PLAYER, "x": 1}), f'[{{"player_id":{json.dumps(PLAYER)}', '{"player_id":"p1"}']
    reject(stack, *(body.encode() for body in bodies))
    until(lambda: stack.count("rejections", "1") == 3 and stack.count("dead_letters", "1") == 3, 60)
    before_audit, before = settle(stack), sums(stack)
    players = stack.warehouse.value("SELECT uniqExact(tenant, player_id) FROM events")
    assert traces(stack)

    dry = forget(stack, "--dry-run")
    assert dry["rows"]["events"] == 25
    assert dry["pseudonyms"] == {}  # they would be others in the run that counts
    assert (dry["rows"]["rejections"], dry["rows"]["dead_letters"]) == (2, 3)
    assert sums(stack) == before
    done = forget(stack)
    assert (done["complete"], done["rows"]) == (True, dry["rows"])
    assert traces(stack) == []
    assert sums(stack) == before
    assert stack.warehouse.value("SELECT uniqExact(tenant, player_id) FROM events") == players
    assert settle(stack) == before_audit
    assert stack.sluice("audit", "--deep", "--json")[0] == 0
    pseudonym = done["pseudonyms"]["acme"]
    assert pseudonym != done["pseudonyms"]["beta"]
    assert stack.count("player_daily", f"player_id = '{pseudonym}'") > 0
    assert stack.count("rejections", 'body = \'{"player_id":"p1"}\'') == 1
    assert set(forget(stack)["rows"].values()) == {0}
    assert forget(stack, "--dry-run")["pseudonyms"] == done["pseudonyms"]


def test_nothing_brings_the_person_back(stack: Whole) -> None:
    (pseudonym,) = {row[0] for row in _pseudonyms(stack)}
    events = stack.count("events", f"player_id = '{pseudonym}'")
    # What comes later: events, repeats of what was stored, rejections, letters.
    stack.pipeline.ingest(life(100) + life(0)[:4])
    reject(stack, json.dumps({"a": [{"player": PLAYER}]}).encode())
    produce_records(stack.kafka, [letter_of(life(0)[0], EVENT.encode(life(0)[0]), 3)])
    until(lambda: stack.count("events", f"player_id = '{pseudonym}'") == events + 12, 60, [stack.sink.log])
    until(lambda: stack.count("dead_letters", "1") == 4 and stack.count("rejections", "1") == 4, 60)
    assert stack.count("bets", f"player_id = '{pseudonym}'") > 0
    settle(stack)
    assert traces(stack) == []
    # A replay of the person's letters is refused; a rebuild of an agent's rows from the log gives the pseudonym.
    code, found, _ = stack.sluice("dlq", "replay", "--stage", "sessions", "--json")
    assert (code, found["replayed"], found["refused"]) == (1, 0, 1)
    stack.change("")
    for agent in ("pairing", "sessions"):
        code, _, printed = stack.sluice("replay", agent, SLUICE_DATA_DIR=str(stack.worker.folder))
        assert code == 0, printed
    settle(stack)
    assert stack.count("sessions", f"player_id = '{pseudonym}'") > 0
    assert traces(stack) == []
    assert stack.sluice("audit", "--deep", "--json")[0] == 0


def test_a_run_that_was_cut_off_is_finished_by_the_next(stack: Whole) -> None:
    name = "another person"
    stack.pipeline.ingest([event(player_id=name, nth=i, dedup=f"cut{i}", event_time=T0 + i) for i in range(5)])
    settle(stack)
    before = sums(stack)
    stack.clickhouse.fail(kind="query", table="ALTER TABLE sessions_rows", code=241)
    code, _, printed = stack.sluice("forget", "--player", name, "--tenant", "acme")
    assert code == 1, printed
    stack.clickhouse.mend()
    code, found, printed = stack.sluice("forget", "--player", name, "--tenant", "acme", "--json")
    assert code == 0, printed
    assert found["rows"]["sessions"] >= 1
    assert stack.count("events", f"player_id = '{name}'") == stack.count("sessions", f"player_id = '{name}'") == 0
    assert sums(stack) == before
    assert settle(stack)["balanced"]


def test_a_sink_that_stands_still_is_waited_for_in_vain(stack: Whole) -> None:
    stack.pipeline.ingest([event(player_id="slow", dedup="slow")])
    settle(stack)
    stack.clickhouse.fail(kind="insert", table="events_rows", code=252)
    try:
        stack.pipeline.ingest([event(player_id="slow", dedup="slow2", event_time=T0 + 5)])
        until(lambda: not stack.pipeline.lag(), 60)
        code, found, printed = stack.sluice("forget", "--player", "slow", "--wait", "1", "--json")
        assert (code, found["complete"]) == (1, False), printed
    finally:
        stack.clickhouse.mend()
    settle(stack)
    assert forget_slow(stack)["complete"]
    assert stack.count("events", "player_id = 'slow'") == 0


def test_thousands_of_rows_are_named_by_their_ids(stack: Whole) -> None:
    stack.warehouse.client.command(
        "INSERT INTO rejections_rows (rejection_id, received_at, tenant, status, body)"
        " SELECT generateUUIDv4(), now64(3), 'acme', 400, 'often' FROM numbers(3000)"
    )
    code, found, printed = stack.sluice("forget", "--player", "often", "--tenant", "acme", "--json")
    assert (code, found["rows"]["rejections"]) == (0, 3000), printed
    assert stack.count("rejections", "body = 'often'") == 0
    person = Forgotten("").name(b"acme", b"often")
    sessions = [uuid4().bytes for _ in range(3000)]
    Forgetting(stack.warehouse.client).move_assignments("acme", person, sessions)


def forget_slow(stack: Whole) -> dict[str, Any]:
    return stack.sluice("forget", "--player", "slow", "--json")[1]  # type: ignore[no-any-return]


def _pseudonyms(stack: Whole) -> list[Any]:
    sql = "SELECT DISTINCT player_id FROM events WHERE startsWith(player_id, 'forgotten-') AND tenant = 'acme'"
    return stack.warehouse.client.query(sql).result_rows  # type: ignore[return-value]
