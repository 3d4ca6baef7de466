"""Every view against a plain recomputation from the accepted events, over random traffic that is stored with repeats.

Seeds are fixed, and named when one fails: `pytest tests/integration/test_views.py -k "seed3"`.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext
from typing import Any

import pytest

from runtime import origin
from runtime.agent import Record
from runtime.testing import Run
from schemas import money
from schemas.keys import key as text_key
from schemas.registry import DEAD_LETTER, EVENT, REJECTION
from schemas.topics import CONFLICTS, DEAD_LETTERS, DUPLICATES, EVENTS, INGEST_EVENTS, REJECTIONS, ROWS
from tests import oracle, report
from tests.events import T0
from tests.events import event as an_event
from tests.sinks import Warehouse, warehouse
from tests.traffic import GAP, LATENESS, TOUCH_WINDOW, WINDOW, letters, processed, rejections, traffic

SEEDS = range(5)
LOG = 77
HOUR = 3_600_000


def unscaled(value: Decimal) -> int:
    with localcontext() as context:
        context.prec = 100
        return int(value.scaleb(money.SCALE))


def ms(value: datetime | None) -> int | None:
    return None if value is None else round(value.replace(tzinfo=UTC).timestamp() * 1000)


@dataclass
class World:
    """What came in, and the warehouse after it."""

    run: Run
    warehouse: Warehouse
    refused: list[Record]
    buried: list[Record]

    def __post_init__(self) -> None:
        log = {(r.partition, r.offset): EVENT.decode(r.value or b"") for r in self.run.records(INGEST_EVENTS)}
        order = [(*place, event) for place, event in log.items()]
        stored, self.repeats = oracle.dedup(order, WINDOW)
        self.log = log
        self.placed = [(place, log[place]) for place in stored]
        self.events = [event for _, event in self.placed]

    def members(self) -> dict[Any, frozenset[Any]]:
        """The events of each session, as the view says it: sessions are told apart by them."""
        found: dict[Any, set[Any]] = {}
        sql = "SELECT session_id, ingest_partition, ingest_offset FROM events WHERE session_id IS NOT NULL"
        for row in self.warehouse.rows(sql):
            found.setdefault(row["session_id"], set()).add((row["ingest_partition"], row["ingest_offset"]))
        return {session: frozenset(places) for session, places in found.items()}

    def sessions(self) -> dict[frozenset[Any], dict[str, Any]]:
        """The oracle's sessions, by their events."""
        return {frozenset(row["coordinates"]): row for row in oracle.sessions(self.placed, GAP, LATENESS)}

    def repeated(self, kind: str) -> list[dict[str, Any]]:
        return [self.log[place] for place, (found, _) in self.repeats.items() if found == kind]


def store(found: Warehouse, records: list[Record], rng: random.Random) -> None:
    """In blocks of any size, out of order, a third of them twice."""
    blocks = []
    while records:
        size = rng.randrange(1, 120)
        blocks.append(records[:size])
        records = records[size:]
    blocks += [block for block in blocks if rng.random() < 0.3]
    rng.shuffle(blocks)
    for block in blocks:
        assert found.store(block) == []


def past_ingest(count: int) -> list[Record]:
    """Garbage that somebody wrote straight into events."""
    return [Record(EVENTS.name, 2, i, T0, b"k", b"no event") for i in range(count)]


def replayed(record: Record) -> Record:
    """An event that dedup refused at first, an hour later in events."""
    cause = origin.source("dedup", 0, LOG, record.partition) + origin.place(record.offset, 0)
    return Record(EVENTS.name, 1, record.offset, record.timestamp + HOUR, b"k", record.value, ((origin.CAUSE, cause),))


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed{seed}")
def world(request: pytest.FixtureRequest, clickhouse: str) -> Iterator[World]:
    rng = random.Random(request.param)
    run = processed(traffic(rng, 600), rng)
    refused = rejections(rng, 30)
    ingest = run.records(INGEST_EVENTS)
    buried = letters(rng, rng.sample(ingest, 5), LOG)
    beyond = [Record(r.topic, 0, 10**6 + i, r.timestamp, r.key, r.value) for i, r in enumerate(rng.sample(ingest, 7))]
    buried += (
        letters(rng, beyond, LOG)
        + letters(rng, beyond[:2], LOG, "sink.events")
        + letters(rng, ingest[:3], LOG, "pairing")
        + letters(rng, past_ingest(3), LOG, "sink.events")
        + letters(rng, [replayed(each) for each in beyond[2:5]], LOG, "sink.events")
    )
    with warehouse(clickhouse, f"views_{request.param}_{rng.randbytes(4).hex()}") as found:
        for topic in (EVENTS, *ROWS.values(), DUPLICATES, CONFLICTS):
            store(found, run.records(topic), rng)
        for records in (refused, buried):
            store(found, records, rng)
        yield World(run, found, refused, buried)


def keyed(rows: list[dict[str, Any]], *names: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    found = {tuple(row[name] for name in names): row for row in rows}
    assert len(found) == len(rows), "rows that should be one"
    return found


def plain(row: dict[str, Any], names: Any) -> dict[str, Any]:
    """A row's values as the recomputation has them."""
    return {name: unscaled(row[name]) if isinstance(row[name], Decimal) else row[name] for name in names}


def assert_rows(found: dict[tuple[Any, ...], dict[str, Any]], expected: report.Rows) -> None:
    assert set(found) == set(expected)
    for key, row in expected.items():
        wanted = {name: pytest.approx(value) if isinstance(value, float) else value for name, value in row.items()}
        assert plain(found[key], row) == wanted, key


def test_events(world: World) -> None:
    found = keyed(world.warehouse.rows("SELECT * FROM events"), "ingest_partition", "ingest_offset")
    assert set(found) == {place for place, _ in world.placed}
    assert set(world.members().values()) == set(world.sessions())
    same = ("tenant", "dialect", "event_name", "player_id", "device_id", "dedup_key", "transaction_id", "campaign",
            "parent_transaction_id", "currency", "is_crypto", "bet_result", "game_type", "game_provider")  # fmt: skip
    for place, event in world.placed:
        row = found[place]
        assert {name: row[name] for name in same} == {name: event[name] for name in same}
        assert row["event_id"].bytes == event["event_id"]
        assert (ms(row["event_time"]), ms(row["received_at"])) == (event["event_time"], event["received_at"])
        assert row["is_late"] == (event["received_at"] - event["event_time"] > LATENESS)
        for name in ("amount", "bet_result_amount"):
            amount = None if event[name] is None else money.from_bytes(event[name])
            assert amount == (None if row[name] is None else unscaled(row[name]))
        payload = row["payload"]
        assert (payload.encode() if isinstance(payload, str) else payload) == event["payload"]


def test_bets(world: World) -> None:
    found = keyed(world.warehouse.rows("SELECT * FROM bets"), "tenant", "bet_id")
    expected = report._bets(world.events)
    assert set(found) == set(expected)
    for key, bet in expected.items():
        row, net, stake = found[key], bet["net"], bet["stake"]
        same = ("status", "pattern", "player_id", "game_type", "game_provider", "currency", "anomalies")
        assert {name: row[name] for name in same} == {name: bet[name] for name in same}, key
        assert (ms(row["placed_at"]), row["settlement_count"]) == (bet["placed_at"], bet["count"])
        wanted = {"stake": stake, "net_result": net}
        wanted |= {"payout": None if net is None else stake + net, "ggr": None if net is None else -net}
        assert {name: None if row[name] is None else unscaled(row[name]) for name in wanted} == wanted, key
        if bet["status"] in ("won", "lost"):
            assert row["settlement_delay_seconds"] == (bet["settled_at"] - bet["placed_at"]) / 1000
    opened = keyed(world.warehouse.rows("SELECT * FROM open_bets"), "tenant", "bet_id")
    assert set(opened) == {key for key, bet in expected.items() if bet["status"] == "open"}
    for key, row in opened.items():
        assert row["age_seconds"] == pytest.approx(
            datetime.now(UTC).timestamp() - expected[key]["placed_at"] / 1000, abs=60
        )


def test_sessions(world: World) -> None:
    members = world.members()
    found = {members[row["session_id"]]: row for row in world.warehouse.rows("SELECT * FROM sessions")}
    expected = world.sessions()
    assert set(found) == set(expected)
    for places, session in expected.items():
        row = found[places]
        kind, who = ("player", row["player_id"]) if row["player_id"] is not None else ("device", row["device_id"])
        assert text_key(row["tenant"], kind, who) == session["identity"]
        assert (ms(row["started_at"]), ms(row["ended_at"])) == (session["started_at"], session["ended_at"])
        for name in ("end_reason", "events", "event_counts", "bets"):
            assert row[name] == session[name]
        for name in ("stake", "deposits", "withdrawals"):
            assert {currency: unscaled(value) for currency, value in row[name].items()} == session[name]
        assert row["active_seconds"] == session["active_ms"] / 1000
        assert row["duration_seconds"] == (session["ended_at"] - session["started_at"]) / 1000
        age = datetime.now(UTC).timestamp() * 1000 - session["ended_at"]
        assert row["is_open"] == (session["end_reason"] != "ended" and age <= GAP)


def test_attributions(world: World) -> None:
    places = ("conversion_ingest_partition", "conversion_ingest_offset")
    found = keyed(world.warehouse.rows("SELECT * FROM attributions"), *places)
    expected = oracle.attributions(world.placed, TOUCH_WINDOW, LATENESS)
    assert set(found) == set(expected)
    events = dict(world.placed)
    assert {credited and credited[0] for credited in expected.values()} == {None, "click_id", "player", "device"}
    for place, credited in expected.items():
        row, conversion = found[place], events[place]
        assert (row["conversion_name"], row["click_id"]) == (conversion["event_name"], conversion["click_id"])
        if credited is None:
            assert (row["matched_by"], row["touch_name"], row["touch_id"], row["campaign"]) == ("", "", None, None)
            continue
        link, touch = credited[0], events[credited[1]]
        assert (row["matched_by"], row["touch_name"], row["campaign"]) == (link, touch["event_name"], touch["campaign"])
        assert (row["touch_ingest_partition"], row["touch_ingest_offset"]) == credited[1]
        assert (row["touch_id"].bytes, ms(row["touched_at"])) == (touch["event_id"], touch["event_time"])
        assert row["seconds_after_touch"] == (conversion["event_time"] - touch["event_time"]) / 1000


def test_repeats(world: World) -> None:
    for view, kind in (("duplicates", "duplicate"), ("conflicts", "conflict")):
        found = keyed(world.warehouse.rows(f"SELECT * FROM {view}"), "ingest_partition", "ingest_offset")
        expected = {place: first for place, (what, first) in world.repeats.items() if what == kind}
        firsts = {at: (row["first_ingest_partition"], row["first_ingest_offset"]) for at, row in found.items()}
        assert firsts == expected
        assert all(row["received_at"] is not None and row["event_id"] for row in found.values())


def test_ggr_daily(world: World) -> None:
    names = ("day", "basis", "tenant", "game_provider", "game_type", "currency")
    found = keyed(world.warehouse.rows("SELECT * FROM ggr_daily"), *names)
    assert_rows(found, report.ggr_daily(world.events))
    for row in found.values():
        if row["stake"]:
            ratios = [float(row[name]) / float(row["stake"]) for name in ("payout", "ggr")]
            assert [row["rtp"], row["hold"]] == ratios, "to the last digit"


def test_player_daily(world: World) -> None:
    sql = "SELECT *, toInt64(round(active_seconds * 1000)) AS active_ms FROM player_daily"
    found = keyed(world.warehouse.rows(sql), "day", "tenant", "player_id", "currency")
    assert_rows(found, report.player_daily(world.placed, GAP, LATENESS))


def test_session_results(world: World) -> None:
    members = world.members()
    rows = world.warehouse.rows("SELECT * FROM session_results")
    found = {(members[row["session_id"]], row["currency"]): row for row in rows}
    assert len(found) == len(rows)
    assert_rows(found, report.session_results(world.placed, GAP, LATENESS))
    sessions = keyed(world.warehouse.rows("SELECT * FROM sessions"), "session_id")
    own = sessions[rows[0]["session_id"],].keys() - {"bets", "stake"}
    for row in rows:  # of the whole session in each of its rows
        session = sessions[row["session_id"],]
        assert {name: row[name] for name in own} == {name: session[name] for name in own}


def test_results_of_a_session_repeat_what_is_the_sessions(clickhouse: str, namespace: str) -> None:
    """Also its deposits in a currency without bets, which are in no row of their own."""
    named: list[dict[str, Any]] = []
    for nth, (name, currency) in enumerate(
        [("bet", "USD"), ("bet", "EUR"), ("bet", None), ("deposit", "EUR"), ("deposit", "SEK"), ("withdraw", None)]
    ):
        sent = {"event_name": name, "currency": currency, "amount": 2 + nth, "transaction_id": f"t{nth}"}
        named.append(an_event(nth=nth, event_time=T0 + nth, player_id="p1", dedup=None, **sent))
    rng = random.Random(0)
    with warehouse(clickhouse, namespace) as found:
        run = processed(named, rng)
        for topic in (EVENTS, *ROWS.values()):
            store(found, run.records(topic), rng)
        test_session_results(World(run, found, [], []))
        rows = keyed(found.rows("SELECT * FROM session_results"), "currency")
        assert set(rows) == {("USD",), ("EUR",), ("",)}
        for row in rows.values():
            assert row["event_counts"] == {"bet": 3, "deposit": 2, "withdraw": 1}
            assert (set(row["deposits"]), set(row["withdrawals"])) == ({"EUR", "SEK"}, {""})
        sql = "SELECT currency, deposits[currency] AS deposited, withdrawals[currency] AS paid FROM session_results"
        own = {row["currency"]: (row["deposited"] > 0, row["paid"] > 0) for row in found.rows(sql)}
        assert own == {"USD": (False, False), "EUR": (True, False), "": (False, True)}


def test_funnel_daily(world: World) -> None:
    found = keyed(world.warehouse.rows("SELECT * FROM funnel_daily"), "day", "tenant", "campaign")
    assert_rows(found, report.funnel_daily(world.events))


def test_days_are_right_as_far_back_as_times_are_accepted(clickhouse: str, namespace: str) -> None:
    """From the gateway's earliest time on, over 1970-01-01, at which the type Date begins."""
    named: list[dict[str, Any]] = []
    days = [date(1900, 1, 1), date(1950, 6, 30), date(1969, 12, 29), date(1969, 12, 31), date(1970, 1, 1)]
    days.append(report.day(T0))
    for nth, day in enumerate(days):
        first = T0 if day == report.day(T0) else ms(datetime.combine(day, time.min)) or 0
        sent = {"player_id": "p1", "currency": "USD", "campaign": f"c{nth}", "dedup": None}
        bets: list[dict[str, Any]] = [
            {"event_name": "bet", "amount": 5, "transaction_id": f"open{nth}"},
            {"event_name": "bet", "amount": 5, "transaction_id": f"b{nth}"},
            {"event_name": "win", "amount": 7, "transaction_id": f"w{nth}", "parent_transaction_id": f"b{nth}"},
        ]
        others: list[dict[str, Any]] = [
            {"event_name": name} for name in ("impression", "click", "conversion", "signup")
        ]
        others += [{"event_name": name, "amount": 3, "player_id": f"p{nth}"} for name in ("deposit", "withdraw")]
        last = first + 24 * HOUR - 1 - first % (24 * HOUR)
        for at, given in [(last if each["event_name"] == "win" else first, each) for each in bets + others]:
            named.append(an_event(nth=len(named), event_time=at, **sent | given))
    rng = random.Random(0)
    with warehouse(clickhouse, namespace) as found:
        run = processed(named, rng)
        for topic in (EVENTS, *ROWS.values()):
            store(found, run.records(topic), rng)
        world = World(run, found, [], [])
        assert len(world.events) == len(named)
        for test in (test_ggr_daily, test_player_daily, test_funnel_daily):
            test(world)
        for view in ("ggr_daily", "player_daily", "funnel_daily"):
            sql = f"SELECT DISTINCT day FROM {view} WHERE day >= '1900-01-01' ORDER BY day"
            assert [row["day"] for row in found.rows(sql)] == days, view
            sql = f"SELECT DISTINCT day FROM {view} WHERE day = toDate('1970-01-01') OR day < '1950-06-30' ORDER BY day"
            assert [row["day"] for row in found.rows(sql)] == [days[0], days[4]], view


def test_data_quality(world: World) -> None:
    places = set(world.log)
    told: dict[bytes, tuple[int, str, str, bool]] = {}
    kept_out: set[tuple[int, int]] = set()
    for record in sorted(world.buried, key=lambda record: record.timestamp):
        letter = DEAD_LETTER.decode(record.value or b"")
        place = (letter["ingest_partition"], letter["ingest_offset"])
        out = letter["stage"] in ("dedup", "sink.events") and place not in places and place not in kept_out
        out = out and letter["ingest_offset"] is not None
        if out:
            kept_out.add(place)
        told[letter["letter_id"]] = (letter["timestamp"], letter["tenant"] or "", letter["dialect"] or "", out)
    assert len(kept_out) == 7
    refused = [REJECTION.decode(record.value or b"") for record in world.refused]
    expected = report.data_quality(
        world.events, world.repeated("duplicate"), world.repeated("conflict"), refused, list(told.values()), LATENESS
    )
    found = keyed(world.warehouse.rows("SELECT * FROM data_quality"), "hour", "tenant", "dialect")
    assert_rows(found, expected)
    for row in found.values():
        assert (row["stored_median_seconds"] is None) == (row["stored"] == 0)
        if row["stored"]:
            assert row["stored_median_seconds"] <= row["stored_p99_seconds"]


def test_delays_are_exact_quantiles(world: World) -> None:
    rows = world.warehouse.rows(
        "SELECT received_at, stored_at FROM events WHERE tenant = 'acme' AND dialect = 'adwize'"
    )
    by_hour: dict[datetime, list[float]] = {}
    for row in rows:
        delay = ((ms(row["stored_at"]) or 0) - (ms(row["received_at"]) or 0)) / 1000
        by_hour.setdefault(report.hour(ms(row["received_at"]) or 0), []).append(delay)
    sql = (
        "SELECT hour, stored_p99_seconds FROM data_quality WHERE tenant = 'acme' AND dialect = 'adwize' AND stored > 0"
    )
    for row in world.warehouse.rows(sql):
        assert row["stored_p99_seconds"] in by_hour[row["hour"]]


def test_letters_and_rejections(world: World) -> None:
    letters_ = {DEAD_LETTER.decode(record.value or b"")["letter_id"] for record in world.buried}
    assert {row["letter_id"].bytes for row in world.warehouse.rows("SELECT * FROM dead_letters")} == letters_
    refused = {REJECTION.decode(record.value or b"")["rejection_id"] for record in world.refused}
    assert {row["rejection_id"].bytes for row in world.warehouse.rows("SELECT * FROM rejections")} == refused
    assert {REJECTIONS.name, DEAD_LETTERS.name} <= set(world.warehouse.feeds)


def test_first_storing_counts(world: World) -> None:
    sql = "SELECT ingest_partition, ingest_offset, min(stored_at) AS first FROM events_rows GROUP BY ALL"
    first = {(row["ingest_partition"], row["ingest_offset"]): row["first"] for row in world.warehouse.rows(sql)}
    rows = world.warehouse.rows("SELECT ingest_partition, ingest_offset, stored_at FROM events")
    assert {(row["ingest_partition"], row["ingest_offset"]): row["stored_at"] for row in rows} == first
