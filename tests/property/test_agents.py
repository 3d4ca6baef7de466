"""The agents against the batch oracle: any order, repeats, batches, crashes, lost disks and zombies."""

from collections import defaultdict
from typing import Any, Protocol

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from runtime.agent import Record
from runtime.origin import HEADER, ingest_coordinates, source
from runtime.origin import place as place_of
from runtime.testing import Run
from schemas import money
from schemas.keys import ALONE, LINKS, key, uuid5_bytes, uuid_text
from schemas.registry import BET, DEAD_LETTER, EVENT, REPEAT, SESSION, record_type
from schemas.topics import BETS, CONFLICTS, DEAD_LETTERS, DUPLICATES, EVENTS, INGEST_EVENTS, SESSIONS, Topic
from streams.agents import attribution, dedup, pairing, sessions, touches
from tests import oracle
from tests.events import T0, event, record_key

GAP, LATENESS, WINDOW = 60_000, 600_000, 1_000_000
PARTITIONS = 2
TOUCH_WINDOW = 100_000
NAMES = ("dedup", "pairing", "sessions", "touches", "attribution")
MARKETING = ("impression", "click", "conversion", "register")
ATTRIBUTION = record_type("attribution")
TIMES = st.integers(0, 12).map(lambda n: T0 + n * 20_000)


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """An event out of few players, bets and keys, so that they meet."""
    names = ["bet", "bet", "win", "loss", "deposit", "login", *oracle._RANK, *MARKETING]
    name = draw(st.sampled_from(names))
    given_: dict[str, Any] = {
        "event_name": name,
        "event_time": draw(TIMES),
        "player_id": draw(st.sampled_from(["p", "q", None])),
        "device_id": draw(st.sampled_from([None, "d"])),
        "dedup": draw(st.sampled_from([None, "1", "2", "3"]) | st.integers(10, 40)),
        "nth": draw(st.integers(0, 10**9)),
        "currency": draw(st.sampled_from(["USD", "USD", "EUR", None])),
    }
    if draw(st.booleans()):
        given_["received_at"] = given_["event_time"] + draw(
            st.sampled_from([0, 1000, LATENESS, LATENESS + 1, WINDOW * 2])
        )
    if name in ("bet", "deposit"):
        given_["amount"] = draw(st.sampled_from([5, 7, 0, None]))
        given_["transaction_id"] = draw(st.sampled_from(["b1", "b2"]))
    if name == "bet" and draw(st.booleans()):
        given_ |= draw(st.sampled_from([{"bet_result": "win", "bet_result_amount": 3},
                                        {"bet_result": "loss", "bet_result_amount": -5}]))  # fmt: skip
    if name in MARKETING:
        given_["click_id"] = draw(st.sampled_from([None, "c1", "c2"]))
        given_["campaign"] = draw(st.sampled_from([None, "x", "y"]))
    if name in ("win", "loss"):
        given_["amount"] = draw(st.sampled_from([4, 9])) * (1 if name == "win" else -1)
        given_ |= {"parent_transaction_id": draw(st.sampled_from(["b1", "b2", None]))}
        given_["transaction_id"] = draw(st.sampled_from(["s1", "s2", None]))
    return event(**given_)


WORK = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "most": st.integers(1, 20),
        "batch": st.integers(1, 8),
        "crash": st.none() | st.integers(0, 12),
        "zombie": st.sampled_from([0, 0, 0, 1, 2]),
    }
)
ITEMS = st.lists(
    st.tuples(st.just("event"), events())
    | st.tuples(st.just("work"), WORK)
    | st.tuples(st.sampled_from(["fork", "restart", "lose disk"]), st.sampled_from(NAMES)),
    max_size=60,
)


class Topics(Protocol):
    """Where the records are: in memory, or on Kafka (tests/workers.py)."""

    def records(self, topic: Topic) -> list[Record]: ...


def agents() -> list[Any]:
    made = [dedup.make(WINDOW), pairing.make(), sessions.make(GAP, LATENESS, PARTITIONS)]
    return [*made, touches.make(), attribution.make(TOUCH_WINDOW, LATENESS)]


def play(items: list[Any]) -> Run:
    """Plays the items and then lets every agent finish."""
    run = Run(agents(), PARTITIONS)
    for kind, what in items:
        if kind == "event":
            run.append(INGEST_EVENTS, record_key(what), EVENT.encode(what), what["received_at"])
        elif kind == "work":
            run.work(**what)
        elif kind == "fork":
            run.fork(what)
        else:
            run.restart(what, lose_disk=kind == "lose disk")
    for name in NAMES:
        run.work(name)
    return run


def ingested(run: Topics) -> list[tuple[int, int, dict[str, Any]]]:
    return [(r.partition, r.offset, EVENT.decode(r.value or b"")) for r in run.records(INGEST_EVENTS)]


def origin(record: Record) -> tuple[int, int]:
    return ingest_coordinates(record.headers[0][1])[1:]


def version(row: dict[str, Any]) -> tuple[int, int]:
    return row["epoch"], row["offset"]


def latest(rows: list[dict[str, Any]], row_id: Any) -> dict[Any, dict[str, Any]]:
    """As ClickHouse collapses them: the highest version of each id; equal versions must be equal rows."""
    found: dict[Any, dict[str, Any]] = {}
    for row in rows:
        known = found.get(row_id(row))
        if known is None or version(row) >= version(known):
            found[row_id(row)] = row
    return found


def check(run: Topics) -> None:
    assert [DEAD_LETTER.decode(r.value or b"")["error"] for r in run.records(DEAD_LETTERS)] == []
    log = ingested(run)
    by_place = {(partition, offset): found for partition, offset, found in log}
    stored, repeats = oracle.dedup(log, WINDOW)
    emitted = {origin(record) for record in run.records(EVENTS)}
    assert emitted == set(stored)
    found_repeats = {}
    for topic, kind in ((DUPLICATES, "duplicate"), (CONFLICTS, "conflict")):
        for record in run.records(topic):
            row = REPEAT.decode(record.value or b"")
            place = (row["ingest_partition"], row["ingest_offset"])
            found_repeats[place] = (kind, (row["first_ingest_partition"], row["first_ingest_offset"]))
    assert found_repeats == repeats
    unique = [by_place[place] for place in stored]
    check_bets(run, oracle.bets(unique))
    expected = oracle.sessions([(place, by_place[place]) for place in stored], GAP, LATENESS)
    check_sessions(run, expected)
    check_attributions(run, [(place, by_place[place]) for place in stored])


def check_bets(run: Topics, expected: dict[str, dict[str, Any]]) -> None:
    rows = latest([BET.decode(r.value or b"") for r in run.records(BETS)], lambda row: (row["tenant"], row["bet_id"]))
    assert len(rows) == len(expected)
    got = {f'["{tenant}","{bet_id}"]': row for (tenant, bet_id), row in rows.items()}
    for bet_key, want in expected.items():
        row = got[bet_key]
        amounts = {name: None if row[name] is None else money.from_bytes(row[name]) for name in ("stake", "net_result")}
        assert (amounts["stake"], amounts["net_result"]) == (want["stake"], want["net"])
        if want["net"] is None:
            assert row["payout"] is row["ggr"] is None
        else:
            assert money.from_bytes(row["payout"]) == want["stake"] + want["net"]
            assert money.from_bytes(row["ggr"]) == -want["net"]
        same = ("status", "pattern", "placed_at", "settled_at", "anomalies", "player_id", "currency", "game_type")
        assert {name: row[name] for name in same} == {name: want[name] for name in same}
        assert row["settlement_count"] == want["count"]


def check_attributions(run: Topics, events: list[tuple[Any, dict[str, Any]]]) -> None:
    written = [ATTRIBUTION.decode(r.value or b"") for r in run.records(attribution.ATTRIBUTIONS)]
    got: dict[Any, Any] = {}
    for link in (*LINKS, ALONE):  # as the view: the strongest that has found a touch
        for row in latest([row for row in written if row["link"] == link], _conversion).values():
            touch = (row["touch_ingest_partition"], row["touch_ingest_offset"]) if row["touch_name"] else None
            got[_conversion(row)] = got.get(_conversion(row)) or (touch and (link, touch))
    assert got == oracle.attributions(events, TOUCH_WINDOW, LATENESS)
    by_place = dict(events)
    for row in written:
        if row["touch_name"]:
            touch = by_place[row["touch_ingest_partition"], row["touch_ingest_offset"]]
            same = (row["touch_name"], row["campaign"], row["touched_at"])
            assert same == (touch["event_name"], touch["campaign"], touch["event_time"])


def _conversion(row: dict[str, Any]) -> tuple[int, int]:
    return row["conversion_ingest_partition"], row["conversion_ingest_offset"]


def check_sessions(run: Topics, expected: list[dict[str, Any]]) -> None:
    written = [SESSION.decode(r.value or b"") for r in run.records(SESSIONS)]
    rows = [row for row in latest(written, lambda row: row["session_id"]).values() if not row["withdrawn"]]
    assigned: dict[Any, dict[str, Any]] = {}
    for row in written:
        for place in row["assigned"]:
            known = assigned.get((place["partition"], place["offset"]))
            if known is None or version(row) >= version(known):
                assigned[place["partition"], place["offset"]] = row
    coordinates: dict[Any, set[tuple[int, int]]] = defaultdict(set)
    for place, owner in assigned.items():
        coordinates[owner["session_id"]].add(place)
    same = ("identity", "started_at", "ended_at", "end_reason", "active_ms", "events", "event_counts", "bets")
    got = {}
    for row in rows:
        sums = {
            name: {currency: money.from_bytes(value) for currency, value in row[name].items()}
            for name in ("stake", "deposits", "withdrawals")
        }
        got[row["identity"], row["started_at"], row["session_id"]] = (
            {name: row[name] for name in same} | sums | {"coordinates": coordinates[row["session_id"]]}
        )
    assert len(got) == len(expected)
    by_places = {frozenset(row["coordinates"]): (row, session) for (*_, session), row in got.items()}
    logs = {place["log"] for row in written for place in row["assigned"]}
    for want in expected:
        time, event_id, place = want["first"]
        want = {name: value for name, value in want.items() if name != "first"}
        row, session = by_places[frozenset(want["coordinates"])]
        assert row == want
        assert session == uuid5_bytes(
            key(want["identity"], time, uuid_text(event_id), *(*logs, *place) if place else ())
        )


@given(ITEMS)
@settings(max_examples=400, deadline=None)
def test_the_rows_are_what_a_batch_program_computes(items: list[Any]) -> None:
    check(play(items))


SIGHTINGS = st.fixed_dictionaries(
    {
        "event_name": st.sampled_from([*oracle._RANK, "session_start", "login"]),
        "event_time": st.sampled_from([T0, T0, T0 + 1, T0 + GAP + 1]),
        "player_id": st.sampled_from(["p", "p", "q"]),
        "nth": st.integers(0, 1),
    }
)
AGAIN = st.lists(
    st.tuples(st.just("event"), SIGHTINGS)
    | st.tuples(st.just("event"), SIGHTINGS)
    | st.tuples(st.just("work"), WORK)
    | st.tuples(st.sampled_from(["fork", "restart", "lose disk"]), st.none()),
    max_size=40,
)


@given(AGAIN, st.permutations(range(40)), st.integers(1, 5))
@settings(max_examples=400, deadline=None)
def test_sessions_where_few_events_are_accepted_again_and_again(items: list[Any], places: list[int], last: int) -> None:
    """So that many sessions begin with one and the same event, whatever order its sightings come in."""
    run = Run([sessions.make(GAP, LATENESS, 1)], PARTITIONS)
    placed: list[tuple[tuple[int, int], dict[str, Any]]] = []
    for kind, what in items:
        if kind == "event":
            each, partition = event(**what), places[len(placed)]
            placed.append(((partition, 0), each))
            # From an ingest partition of its own each, since of one nobody takes what came before.
            headers = [(HEADER, source("dedup", 0, 7, partition) + place_of(0, 0))]
            run.append(EVENTS, each["identity"].encode(), EVENT.encode(each), each["received_at"], headers)
        elif kind == "work":
            run.work(**what | {"name": "sessions"})
        elif kind == "fork":
            run.fork("sessions")
        else:
            run.restart("sessions", lose_disk=kind == "lose disk")
    run.work("sessions", batch=last)
    assert run.records(DEAD_LETTERS) == []
    check_sessions(run, oracle.sessions(placed, GAP, LATENESS))


@given(st.lists(events(), max_size=25), st.data())
@settings(max_examples=200, deadline=None)
def test_any_permutation_gives_the_same_rows(found: list[dict[str, Any]], data: st.DataObject) -> None:
    """Without repeats of a key, so that the set of accepted events is the same in every order."""
    unique = list({each["event_id"]: each for each in found}.values())
    shuffled = data.draw(st.permutations(unique))
    for order in (unique, shuffled):
        run = Run(agents(), PARTITIONS)
        for each in order:
            run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), each["received_at"])
        for name in NAMES:
            run.work(name, batch=data.draw(st.integers(1, 30)))
        log = ingested(run)
        note(str(log))
        check(run)


@given(ITEMS)
@settings(max_examples=100, deadline=None)
def test_a_replay_gives_the_same_bytes(items: list[Any]) -> None:
    """Whatever happened, an agent that reads its input again emits the same records with the same origins."""
    run = play(items)
    again = Run(agents(), PARTITIONS)
    for record in run.records(INGEST_EVENTS):
        again.broker.append(record.topic, record.partition, record.key, record.value, record.headers, record.timestamp)
    again.work("dedup")
    for topic in (EVENTS, DUPLICATES, CONFLICTS):
        first = {(r.partition, r.headers[0][1]): (r.key, r.value) for r in run.records(topic)}
        second = {(r.partition, r.headers[0][1]): (r.key, r.value) for r in again.records(topic)}
        assert first == second


@pytest.mark.parametrize("seed", range(3))
def test_long_traffic(seed: int) -> None:
    """Many events, all in order of time but one in ten, in batches of any size."""
    import random

    draw = random.Random(seed)
    run = Run(agents(), PARTITIONS)
    for n in range(2000):
        late = draw.randrange(0, 40) * 5000 if draw.random() < 0.1 else 0
        names = ["bet", "win", "login", "session_start", "session_stop", "session_end", "deposit", *MARKETING]
        name = draw.choice(names)
        each = event(
            event_name=name, event_time=T0 + n * 3000 - late, received_at=T0 + n * 3000, player_id=f"p{n % 7}",
            nth=n, amount=n % 9 if name in ("bet", "win", "deposit") else None, currency="USD",
            transaction_id=f"t{n}", parent_transaction_id=f"t{draw.randrange(n + 1)}" if name == "win" else None,
            dedup=n if n % 19 else draw.randrange(n + 1),
        )  # fmt: skip
        run.append(INGEST_EVENTS, record_key(each), EVENT.encode(each), each["received_at"])
        if draw.random() < 0.01:
            for name in NAMES:
                run.work(name, batch=draw.randrange(1, 200))
    for name in NAMES:
        run.work(name, batch=77)
    check(run)
