"""`sluice dlq` on the whole pipeline: letters of agents and of the sink, replayed once mended, each event once."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.registry import EVENT
from schemas.topics import INGEST_EVENTS
from tests.events import event
from tests.kafka import produce_records
from tests.sinks import until
from tests.whole import Whole, whole


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Whole]:
    with whole(tmp_path_factory.mktemp("dlq"), "dedup,pairing") as found:
        yield found


def test_a_letter_of_dedup_is_replayed_to_its_old_place(stack: Whole) -> None:
    good = [event(nth=i, dedup=f"good{i}", player_id="p") for i in range(20)]
    bad = [event(nth=i, dedup=f"bad{i}", player_id="poison", amount=i, event_name="deposit") for i in range(3)]
    stack.pipeline.ingest([*good, *bad])
    listed = stack.letters(3, "--stage", "dedup")
    assert {row["error"] for row in listed} == {"ValueError: poison"}
    assert {(row["fate"], row["tenant"], row["attempts"]) for row in listed} == {("waiting", "acme", 0)}
    before = stack.audit()
    assert (before["ingested"], before["stored"], before["dead_letters"]) == (23, 20, 3)

    shown = stack.dlq("show", listed[0]["letter_id"])
    assert base64.b64decode(shown["payload"]) in [EVENT.encode(each) for each in bad]
    assert shown["record"]["player_id"] == "poison"
    dry = stack.dlq("replay", "--stage", "dedup", "--dry-run")
    assert (dry["dry_run"], dry["replayed"], stack.count("replays", "1")) == (True, 3, 0)

    # Too early, twice: each failure is a letter, and however many there are, the event is stored once.
    assert stack.dlq("replay", "--stage", "dedup")["replayed"] == 3
    stack.letters(6, "--stage", "dedup")
    assert stack.dlq("replay", "--stage", "dedup", "--fate", "replayed")["replayed"] == 3
    stack.letters(9, "--stage", "dedup")
    assert stack.audit() == before

    stack.change("pairing")
    done = stack.dlq("replay", "--stage", "dedup", "--by", "anna", "--reason", "mended")
    assert (done["replayed"], done["refused"]) == (6, 0)
    until(lambda: stack.count("events", "player_id = 'poison'") == 3, 60, [stack.worker.log, stack.sink.log])
    after = stack.audit()
    assert (after["ingested"], after["stored"], after["dead_letters"]) == (23, 23, 0)
    places = {(row["ingest_partition"], row["ingest_offset"]) for row in listed}
    sql = "SELECT ingest_partition AS p, ingest_offset AS o FROM events WHERE player_id = 'poison'"
    assert {(row["p"], row["o"]) for row in stack.warehouse.rows(sql)} == places
    last = stack.letters(9, "--stage", "dedup", "--fate", "replayed")[-1]
    assert (last["attempts"], last["decided_by"], last["note"]) == (1, "anna", "mended")

    assert stack.dlq("replay", "--stage", "dedup")["replayed"] == 0
    again = stack.dlq("replay", "--stage", "dedup", "--fate", "replayed")
    assert again["replayed"] == 9
    assert stack.audit() == after
    stack.pipeline.ingest(bad)  # a repeat of a replayed event is a duplicate of the place at which it is stored
    until(lambda: stack.count("duplicates", "player_id = 'poison'") == 3, 60)
    sql = "SELECT first_ingest_partition AS p, first_ingest_offset AS o FROM duplicates WHERE player_id = 'poison'"
    assert {(row["p"], row["o"]) for row in stack.warehouse.rows(sql)} == places
    assert stack.audit()["ingested"] == 26
    assert stack.sluice("audit", "--deep", "--json")[0] == 0


def test_a_replay_that_was_not_recorded_is_found_in_the_log(stack: Whole) -> None:
    before = stack.audit()
    stack.warehouse.client.command("TRUNCATE TABLE replays_rows")
    found = stack.audit()
    assert (found["ingested"], found["missing"]) == (before["ingested"], 0)


def test_a_letter_of_a_later_stage_is_for_that_stage_alone(stack: Whole) -> None:
    before = stack.audit()
    bet = event(event_name="bet", amount=7, transaction_id="poison-1", player_id="q", currency="EUR", dedup="b1")
    stack.pipeline.ingest([bet])
    (letter,) = stack.letters(1, "--stage", "pairing", "--error", "POISON")
    until(lambda: stack.count("events", "transaction_id = 'poison-1'") == 1, 60)
    assert stack.audit()["later_stages"] == {"pairing": 1}
    assert stack.count("bets", "bet_id = 'poison-1'") == 0
    stack.change("")
    for _ in range(2):
        assert stack.dlq("replay", "--id", letter["letter_id"], "--fate", _fate(stack, letter))["replayed"] == 1
    until(lambda: stack.count("bets", "bet_id = 'poison-1' AND status = 'open'") == 1, 60, [stack.worker.log])
    after = stack.audit()
    assert after["ingested"] == before["ingested"] + 1
    assert after["later_stages"] == {}
    until(lambda: stack.audit()["derived"] == {}, 60)
    assert stack.count("events", "transaction_id = 'poison-1'") == 1


def _fate(stack: Whole, letter: dict[str, Any]) -> str:
    return str(stack.dlq("list", "--id", letter["letter_id"])["letters"][0]["fate"])


def test_a_row_that_clickhouse_refused_is_stored_once_it_takes_it(stack: Whole) -> None:
    client = stack.warehouse.client
    client.command("ALTER TABLE events_rows ADD CONSTRAINT good CHECK event_name != 'refused'")
    stack.pipeline.ingest([event(event_name="refused", dedup="r1", player_id="r")])
    (letter,) = stack.letters(1, "--stage", "sink.events", "--topic", "events", "--tenant", "acme")
    assert stack.audit()["dead_letters"] == 1
    stack.dlq("replay", "--stage", "sink.events")  # too early: it fails again, as a letter of its own
    second = stack.letters(2, "--stage", "sink.events")[1]
    assert (second["attempts"], second["fate"]) == (1, "waiting")
    assert stack.audit()["dead_letters"] == 1
    client.command("ALTER TABLE events_rows DROP CONSTRAINT good")
    assert stack.dlq("replay", "--id", second["letter_id"])["replayed"] == 1
    until(lambda: stack.count("events", "event_name = 'refused'") == 1, 60, [stack.sink.log])
    found = stack.audit()
    assert (found["dead_letters"], found["missing"], found["doubled"]) == (0, 0, 0)
    (place,) = stack.warehouse.rows("SELECT ingest_offset FROM events WHERE event_name = 'refused'")
    assert place["ingest_offset"] == letter["ingest_offset"]


def test_a_letter_that_goes_in_circles_is_noticed(stack: Whole) -> None:
    produce_records(stack.kafka, [(INGEST_EVENTS.name, 0, b"k", b"no event", [("traceparent", b"00-a-b-01")])])
    stack.letters(1, "--error", "DecodeError")
    for attempt in range(1, 4):
        assert stack.dlq("replay", "--error", "DecodeError")["replayed"] == 1
        assert stack.letters(1 + attempt, "--error", "DecodeError")[-1]["attempts"] == attempt
        assert stack.audit()["dead_letters"] == 1
    code, found, _ = stack.sluice("dlq", "replay", "--error", "DecodeError", "--json")
    assert (code, found["replayed"], found["refused"]) == (1, 0, 1)
    assert "after 3 replays" in next(iter(found["reasons"].values()))
    assert stack.dlq("replay", "--error", "DecodeError", "--force")["replayed"] == 1
    stack.letters(5, "--error", "DecodeError")
    assert stack.dlq("discard", "--error", "DecodeError", "--dry-run")["discarded"] == 1
    assert stack.dlq("discard", "--error", "DecodeError", "--reason", "rubbish")["discarded"] == 1
    stack.letters(0, "--fate", "waiting")
    (gone,) = stack.letters(1, "--fate", "discarded")
    assert gone["note"] == "rubbish"
    assert gone["timestamp"].endswith("+00:00")
    nobody = "00000000-0000-0000-0000-000000000000"
    for action, done in (("replay", "replayed"), ("discard", "discarded")):
        code, found, _ = stack.sluice("dlq", action, "--id", gone["letter_id"], "--id", nobody, "--json")
        assert (code, found[done], found["refused"], found["letters"]) == (1, 0, 2, [])
        assert found["reasons"][nobody] == "no dead letter has the id"
        assert found["reasons"][gone["letter_id"]].startswith("it was discarded already, at ")
    stack.letters(5, "--tenant", "", "--error", "DecodeError")  # whose tenant could not be read, and no others
    assert {row["tenant"] for row in stack.dlq("list", "--tenant", "")["letters"]} == {None}
    assert stack.audit()["dead_letters"] == 1


def test_what_a_person_gets_wrong_is_said(stack: Whole) -> None:
    code, _, printed = stack.sluice("dlq", "replay")
    assert (code, "say which letters" in printed) == (2, True)
    code, _, printed = stack.sluice("dlq", "list", "--since", "yesterday")
    assert (code, "no ISO 8601 time" in printed) == (2, True)
    code, _, printed = stack.sluice("dlq", "show", "00000000-0000-0000-0000-000000000000")
    assert (code, "no dead letter has the id" in printed) == (1, True)
    _, _, printed = stack.sluice("dlq", "list")
    assert "dead letters" in printed
    assert "ValueError: poison" in printed
    listed = stack.letters(0, "--until", "2020-01-01T00:00:00")
    assert listed == []
