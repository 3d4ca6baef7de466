"""`sluice audit` on the whole pipeline: it agrees with it, and finds what was done behind it."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from runtime.agent import Record
from runtime.letters import dead_letter
from runtime.settings import load
from schemas.keys import partition_of, uuid_text
from schemas.topics import CONTROL_LOSSES, DEAD_LETTERS, INGEST_EVENTS
from sinks.audit import CHECKED, Auditor, Balance
from sinks.auditing import Audit
from sinks.derived import MISPLACED
from sinks.unrecorded import replays
from tests.events import event, record_key
from tests.kafka import create_topics, delete_records, produce_records, run
from tests.sinks import until
from tests.traffic import traffic
from tests.whole import Whole, whole
from tests.workers import Worker


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("audit")) as found:
        found.pipeline.ingest(traffic(random.Random(5), 800))
        yield found


@contextmanager
def restored(stack: Whole, views: Sequence[str]) -> Iterator[None]:
    """For the length of a ``with`` the tables of views may be tampered with, from where everything balances."""
    stack.settled()
    client = stack.warehouse.client
    for view in views:
        # ClickHouse clones no part of which some columns are still in a patch.
        client.command(f"ALTER TABLE {view}_rows APPLY PATCHES", settings={"mutations_sync": 2})
        client.command(f"CREATE TABLE kept_{view}_rows CLONE AS {view}_rows")
    try:
        yield
    finally:
        for view in views:
            client.command(f"EXCHANGE TABLES {view}_rows AND kept_{view}_rows")
            client.command(f"DROP TABLE kept_{view}_rows SYNC")


def test_it_balances_once_everything_is_through(stack: Whole) -> None:
    found = stack.balance(90)
    logs = stack.sink.log.read_text()[-2000:] + stack.worker.log.read_text()[-2000:]
    assert found["balanced"], (found, logs)
    assert found["ingested"] == 800
    assert found["stored"] + found["duplicates"] + found["conflicts"] == 800
    assert min(found["stored"], found["duplicates"], found["conflicts"]) > 0
    assert (found["missing"], found["doubled"], found["dead_letters"], found["differences"]) == (0, 0, 0, [])
    assert stack.settled()["derived"] == {}


def test_freshness_says_that_everything_is_there(stack: Whole) -> None:
    def fresh() -> bool:
        rows = stack.warehouse.rows("SELECT stage, lag_seconds FROM freshness")
        return len(rows) == 8 and all(row["lag_seconds"] < 10 for row in rows)

    until(fresh, 60, [stack.sink.log])
    stack.clickhouse.fail(kind="insert", table="events_rows", code=252)
    try:
        stack.pipeline.ingest([event(nth=1, dedup="fresh")])
        sql = "SELECT lag_seconds FROM freshness WHERE stage = 'events'"
        until(lambda: stack.warehouse.rows(sql)[0]["lag_seconds"] > 4, 60)
        sql = "SELECT lag_seconds FROM freshness WHERE stage = 'duplicates'"
        assert stack.warehouse.rows(sql)[0]["lag_seconds"] < 4
    finally:
        stack.clickhouse.mend()
    until(fresh, 60, [stack.sink.log])


def test_what_has_arrived_since_it_was_missed_ends_no_audit(stack: Whole) -> None:
    assert run(lambda: replays(stack.kafka, {})) == {}


def test_what_is_on_its_way_is_named(stack: Whole) -> None:
    assert stack.balance(60)["balanced"]
    stack.clickhouse.fail(kind="insert", code=252)
    try:
        stack.pipeline.ingest([event(nth=i, dedup=f"way{i}", player_id="w") for i in range(10)])
        until(lambda: not stack.pipeline.lag(), 60, [stack.worker.log])
        found = stack.balance()
        assert (found["missing"], found["derived"], found["waiting"]["sink: events"]) == (10, None, 10)
        assert all("waiting for the sink" in each["stage"] for each in found["differences"])
        event_id = uuid_text(event(nth=3, dedup="way3", player_id="w")["event_id"])
        code, traced, _ = stack.quietly("trace", event_id, "--json")
        assert (code, [step["stage"] for step in traced["steps"]]) == (0, ["events"])
        assert "waiting for the sink" in traced["steps"][0]["what"]
    finally:
        stack.clickhouse.mend()
    stack.worker.kill()
    stack.pipeline.ingest([event(nth=99, dedup="unread", transaction_id="t-unread")])
    found = stack.balance(2)
    assert found["missing"] >= 1
    assert any("waits for dedup" in each["stage"] for each in found["differences"])
    assert "waiting for the worker" in stack.quietly("trace", "t-unread", "--json")[1]["steps"][0]["what"]
    stack.worker.start()
    assert stack.balance(90)["balanced"]


KEY = "ingest_log, ingest_partition, ingest_offset, received_at"
TAMPERING = {
    "removed": (
        "ALTER TABLE events_rows DELETE WHERE ingest_offset = 40 SETTINGS mutations_sync = 1",
        {"missing": "lost: dedup has handled it"},
    ),
    "removed without a trace": ("DELETE FROM duplicates_rows WHERE 1", {"missing": "lost"}),
    "doubled into another table": (
        f"INSERT INTO conflicts_rows ({KEY}) SELECT {KEY} FROM events ORDER BY ALL LIMIT 3",
        {"doubled": "in more than one table"},
    ),
    "doubled under another key": (
        f"INSERT INTO events_rows ({KEY}) SELECT {KEY} + 1 FROM events ORDER BY ALL LIMIT 3",
        {"doubled": "several rows in one table"},
    ),
    "invented": (
        f"INSERT INTO events_rows ({KEY}) SELECT ingest_log, 0, 1000000, received_at FROM events LIMIT 1",
        {"beyond": "the log has never had this offset"},
    ),
    "altered": (
        "ALTER TABLE events_rows UPDATE amount = amount + 1 WHERE event_name = 'bet' SETTINGS mutations_sync = 1",
        {"altered": "events"},
    ),
    "an altered payload": (
        "ALTER TABLE events_rows UPDATE payload = 'x' WHERE ingest_offset = 7 SETTINGS mutations_sync = 1",
        {"altered": "events"},
    ),
    "an altered time of storing": (
        "ALTER TABLE events_rows UPDATE stored_at = stored_at - 60 WHERE ingest_offset = 7 SETTINGS mutations_sync = 1",
        {"altered": "events"},
    ),
    "an altered bet": (
        "ALTER TABLE bets_rows UPDATE status = 'won' WHERE status = 'lost' SETTINGS mutations_sync = 1",
        {"altered": "bets"},
    ),
    "an altered session": (
        "ALTER TABLE sessions_rows UPDATE bets = bets + 1 WHERE events > 1 SETTINGS mutations_sync = 1",
        {"altered": "sessions"},
    ),
    "an altered attribution": (
        "ALTER TABLE attributions_rows UPDATE campaign = 'bought' WHERE link = 'player' SETTINGS mutations_sync = 1",
        {"altered": "attributions"},
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_what_is_done_behind_its_back_is_found(stack: Whole, what: str) -> None:
    sql, expected = TAMPERING[what]
    with restored(stack, CHECKED):
        stack.warehouse.client.command(sql)
        found = stack.balance()
        assert not found["balanced"]
        for kind, stage in expected.items():
            assert found[kind] > 0, found
            listed = [each for each in found["differences"] if each["what"] == kind]
            assert listed, found
            assert all(stage in each["stage"] for each in listed), listed


def test_what_arrives_between_two_looks_is_not_missing(stack: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    with restored(stack, CHECKED):
        client, missing = stack.warehouse.client, Auditor.missing
        client.command("ALTER TABLE events_rows DELETE WHERE ingest_offset = 40 SETTINGS mutations_sync = 1")
        put_back = ["INSERT INTO events_rows SELECT * FROM kept_events_rows WHERE ingest_offset = 40"]

        def late(*given: Any) -> list[int]:
            while put_back:
                client.command(put_back.pop())
            return missing(*given)

        monkeypatch.setattr(Auditor, "missing", late)
        found = run(lambda: _audited(stack))
        assert (put_back, found.missing, found.balanced) == ([], 0, True)


async def _audited(stack: Whole) -> Balance:
    audit = Audit(load(kafka=stack.kafka), stack.warehouse.client)
    try:
        return await audit.run(wait=0)
    finally:
        await audit.close()


def test_people_are_told_too(stack: Whole) -> None:
    with restored(stack, ["events"]):
        stack.warehouse.client.command(TAMPERING["removed"][0])
        code, _, printed = stack.quietly("audit")
        assert (code, "NOT balanced" in printed) == (1, True)


def test_a_row_replaced_with_its_checksum_is_found_in_the_log(stack: Whole) -> None:
    columns = stack.warehouse.feeds["events"].tables[0].columns
    names = [column.name for column in columns]
    changed = ["toDecimal128(4.2, 18)" if name == "amount" else name for name in names]
    with restored(stack, ["events"]):
        assert stack.quietly("audit", "--deep", "--json", "--wait", "30")[1]["balanced"]
        stack.warehouse.client.command(
            f"INSERT INTO events_rows ({', '.join(names)}, stored_at) SELECT {', '.join(changed)}, stored_at - 1"
            " FROM events_rows FINAL WHERE event_name = 'bet' ORDER BY ALL LIMIT 1"
        )
        assert stack.balance()["balanced"]
        _, found, _ = stack.quietly("audit", "--deep", "--json")
        assert (found["balanced"], found["altered"]) == (False, 1)
        assert found["differences"][0]["stage"] == "the row differs from the log in amount"


def test_altered_properties_are_found_in_the_log(stack: Whole) -> None:
    """They are in no checksum: computing one of JSON costs too much at the insert."""
    with restored(stack, ["events"]):
        stack.warehouse.client.command(
            """ALTER TABLE events_rows UPDATE properties = '{"a": {"b": 7}}' WHERE ingest_offset = 7"""
            " SETTINGS mutations_sync = 1"
        )
        assert stack.balance()["balanced"]
        _, found, _ = stack.quietly("audit", "--deep", "--json")
        assert not found["balanced"]
        assert {each["stage"] for each in found["differences"]} == {"the row differs from the log in properties"}


SOME = "cityHash64(version, ingest_offset) % 10 = 0"
SOME_EVENTS = "cityHash64(ingest_partition, ingest_offset) % 10 = 0"
SOME_CONVERSIONS = "cityHash64(conversion_ingest_partition, conversion_ingest_offset) % 10 = 0"
INVENTED = """
INSERT INTO attributions_rows SELECT * REPLACE (1000000 AS conversion_ingest_offset) FROM attributions_rows LIMIT 1
"""
DERIVED = {
    "removed bets": ("bets", f"DELETE FROM bets_rows WHERE {SOME}", "bets that events name and that have no row"),
    "removed sessions": (
        "sessions", f"DELETE FROM sessions_rows WHERE {SOME}", "sessions with more or fewer events than belong to them",
    ),
    "doubled sessions": (
        "sessions", "INSERT INTO sessions_rows SELECT * REPLACE (started_at - 1 AS started_at) FROM sessions_rows",
        "sessions with more than one row",
    ),
    "removed assignments": (
        "assignments", f"DELETE FROM assignments_rows WHERE {SOME_EVENTS}",
        MISPLACED,
    ),
    "sessions of events removed": (
        "events",
        f"ALTER TABLE events_rows UPDATE session_id = NULL WHERE {SOME_EVENTS} SETTINGS mutations_sync = 1",
        "events with an identity, in time, and without a session",
    ),
    "sessions of events altered": (
        "events",
        (
            "ALTER TABLE events_rows UPDATE session_id = toUUID('00000000-0000-4000-8000-000000000000')"
            f" WHERE session_id IS NOT NULL AND {SOME_EVENTS} SETTINGS mutations_sync = 1"
        ),
        MISPLACED,
    ),
    "removed attributions": (
        "attributions", f"DELETE FROM attributions_rows WHERE {SOME_CONVERSIONS}",
        "conversions that events name, in time, and that have no attribution",
    ),
    "an attribution's strongest link removed": (
        "attributions", "DELETE FROM attributions_rows WHERE link = 'click_id'",
        "links of conversions, in time, that have no row",
    ),
    "doubled attributions": (
        "attributions",
        "INSERT INTO attributions_rows SELECT * REPLACE (received_at + 1 AS received_at) FROM attributions_rows",
        "links of conversions with more than one row",
    ),
    "invented attributions": (
        "attributions",
        INVENTED,
        "attributions of what is no conversion",
    ),
    "attributions to an invented touch": (
        "attributions",
        "ALTER TABLE attributions_rows UPDATE touch_ingest_offset = 1000000 WHERE 1 SETTINGS mutations_sync = 1",
        "attributions to what is no touch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", DERIVED)
def test_what_no_longer_fits_the_events_is_found(stack: Whole, what: str) -> None:
    view, sql, question = DERIVED[what]
    with restored(stack, [view]):
        stack.warehouse.client.command(sql)
        found = stack.balance(30)
        assert not found["balanced"]
        assert found["derived"][question] > 0


def test_a_dead_letter_stands_in_an_events_place_until_it_is_stored(stack: Whole) -> None:
    before = stack.balance(60)
    produce_records(stack.kafka, [(INGEST_EVENTS.name, 0, b"k", b"no event", [])])
    found = stack.balance(60)
    assert found["balanced"]
    assert (found["ingested"], found["dead_letters"]) == (before["ingested"] + 1, before["dead_letters"] + 1)
    # A letter of a record that is stored counts for nothing; one of a later stage is listed apart.
    row = stack.warehouse.rows("SELECT ingest_log, ingest_partition, ingest_offset FROM events LIMIT 1")[0]
    stored = Record(INGEST_EVENTS.name, row["ingest_partition"], row["ingest_offset"], 1, None, b"x")
    for stage in ("dedup", "pairing"):
        key, value = dead_letter(stage, stored, row["ingest_log"], ValueError("x"))
        produce_records(stack.kafka, [(DEAD_LETTERS.name, 0, key, value, [])])
    until(lambda: stack.warehouse.value("SELECT count() FROM dead_letters") == found["dead_letters"] + 2, 60)
    last = stack.balance(30)
    assert last["balanced"]
    assert last["dead_letters"] == found["dead_letters"]
    assert last["later_stages"] == {"pairing": 1}


def test_a_letter_explains_what_is_missing_of_its_event_and_nothing_else(stack: Whole) -> None:
    bets = [event(event_name="bet", transaction_id=f"why-{n}", dedup=f"why-{n}", amount=5) for n in (1, 2)]
    stack.pipeline.ingest(bets)
    stack.settled()
    find = "SELECT ingest_log, ingest_partition, ingest_offset FROM events WHERE transaction_id = 'why-1'"
    (row,) = stack.warehouse.rows(find)
    with restored(stack, ["bets"]):
        stack.warehouse.client.command("DELETE FROM bets_rows WHERE bet_id = 'why-1'")
        assert not stack.balance(30)["balanced"]
        stack.bury("sessions", row)
        assert not stack.balance(30)["balanced"]
        stack.bury("sink.bets", row)
        found = stack.balance(30)
        assert (found["balanced"], found["derived"]) == (True, {})
        stack.warehouse.client.command("DELETE FROM bets_rows WHERE bet_id = 'why-2'")
        found = stack.balance(30)
        assert (found["balanced"], sum(found["derived"].values())) == (False, 1)


@pytest.mark.parametrize(
    ("name", "more"),
    [("bet", {"amount": 5}), ("signup", {"click_id": "kept-out"}), ("click", {"click_id": "kept-out"})],
)
def test_an_event_that_the_table_refuses_balances(stack: Whole, name: str, more: dict[str, Any]) -> None:
    """What its agents made of it is there, and its letter says why the event is not."""
    stack.settled()
    refused = event(event_name=name, transaction_id=f"out-{name}", dedup=f"out-{name}", properties="[]", **more)
    kept = event(event_name="signup", click_id="kept-out", dedup=f"in-{name}", transaction_id=f"in-{name}")
    before = stack.balance(30)
    stack.pipeline.ingest([refused, kept])
    found = stack.settled()
    assert found["dead_letters"] == before["dead_letters"] + 1
    if name == "bet":
        assert stack.warehouse.value("SELECT count() FROM bets WHERE bet_id = 'out-bet'") == 1


async def remove(kafka: str, topic: str) -> None:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    try:
        await client.delete_topics([topic])
    finally:
        await client.close()


def test_an_accepted_loss_is_told_and_balances(tmp_path: Path) -> None:
    """What nobody accepted stays missing. With a former release's topics nothing is stepped over."""
    with whole(tmp_path) as stack:
        events = [event(nth=n, dedup=n, player_id=f"p{n % 5}") for n in range(60)]
        stack.pipeline.ingest(events[:30])
        run(lambda: remove(stack.kafka, CONTROL_LOSSES.name))
        assert stack.audit()["ingested"] == 30
        assert stack.worker.stop() == 0
        read, cut = (sum(partition_of(record_key(each), 2) == 0 for each in events[:count]) for count in (30, 50))
        assert read < cut
        stack.pipeline.ingest(events[30:])
        delete_records(stack.kafka, INGEST_EVENTS.name, 0, cut)
        worker = Worker(stack.kafka, tmp_path, accept_loss=f"{read}-{cut}").start()
        until(lambda: not worker.alive, 60, [worker.log])
        assert (
            "no topic control.losses, where an accepted loss is recorded: run `sluice topics`" in worker.log.read_text()
        )
        create_topics(stack.kafka, [CONTROL_LOSSES.name], 1, cleanup_policy="compact")
        worker.start()
        try:
            found = stack.audit()
            numbers = (found["ingested"], found["stored"], found["missing"], found["accepted_losses"])
            assert numbers == (60, 60 - (cut - read), 0, cut - read), worker.log.read_text()[-2000:]
            one = {"reader": "dedup", "topic": INGEST_EVENTS.name, "partition": 0, "from": read, "to": cut - 1}
            assert (found["losses"], found["differences"]) == ([one], [])
            code, _, printed = stack.sluice("audit")
            assert code == 0
            assert f"accepted ingest.events-0@{read}-{cut - 1}  lost: deleted before dedup" in printed
            stack.warehouse.client.command("DELETE FROM events_rows WHERE ingest_partition = 0 AND ingest_offset = 0")
            code, found, _ = stack.sluice("audit", "--json")
            assert (code, found["missing"], found["accepted_losses"]) == (1, 1, cut - read)
            assert [(each["what"], each["from"], each["to"]) for each in found["differences"]] == [("missing", 0, 0)]
        finally:
            worker.stop()
