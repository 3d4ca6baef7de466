"""Names, types and comments of the warehouse as analysts rely on them; its limits; who may do what."""

import json
import random
from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.agent import Record
from runtime.origin import HEADER, place, source
from runtime.settings import load
from schemas import money
from schemas.registry import BET, EVENT
from schemas.topics import BETS, EVENTS
from sinks.clickhouse import connect
from sinks.deep import as_stored
from sinks.errors import CODES, Outcome, classify
from tests.events import T0, event
from tests.sinks import Warehouse, warehouse
from tests.traffic import LARGEST

COLUMNS = {
    "events": """
        event_id tenant dialect event_name event_time received_at stored_at player_id device_id
        session_id dedup_key transaction_id parent_transaction_id amount currency is_crypto bet_result
        bet_result_amount game_type game_provider click_id campaign utm_source utm_medium utm_campaign
        program_id ip_address user_agent properties payload ingest_partition ingest_offset
    """,
    "bets": """
        tenant bet_id player_id status pattern game_type game_provider currency is_crypto stake
        net_result payout ggr placed_at settled_at settlement_delay_seconds settlement_count anomalies
    """,
    "sessions": """
        session_id tenant player_id device_id started_at ended_at end_reason duration_seconds
        active_seconds events event_counts bets stake deposits withdrawals is_open
    """,
    "attributions": """
        tenant conversion_id conversion_name converted_at player_id click_id matched_by touch_id touch_name touched_at
        campaign
    """,
    "duplicates": """
        tenant dialect dedup_key event_id received_at ingest_partition ingest_offset
        first_ingest_partition first_ingest_offset
    """,
    "conflicts": """
        tenant dialect dedup_key event_id received_at ingest_partition ingest_offset
        first_ingest_partition first_ingest_offset payload
    """,
    "rejections": """
        received_at tenant dialect route status errors body
    """,
    "dead_letters": """
        topic partition offset ingest_partition ingest_offset stage error payload
    """,
    "open_bets": """
        tenant bet_id player_id stake currency placed_at age_seconds
    """,
    "ggr_daily": """
        day basis tenant game_provider game_type currency bets players stake payout ggr rtp hold
        open_bets open_stake
    """,
    "player_daily": """
        day tenant player_id currency bets stake payout ggr deposits withdrawals sessions
        active_seconds
    """,
    "session_results": """
        session_id tenant player_id device_id started_at ended_at end_reason duration_seconds
        active_seconds events event_counts deposits withdrawals is_open currency bets stake payout ggr
    """,
    "funnel_daily": """
        day tenant campaign impressions clicks conversions registrations first_deposits
    """,
    "freshness": """
        stage complete_until
    """,
    "data_quality": """
        hour tenant dialect accepted duplicates conflicts rejected dead_letters late_events
        orphaned_settlements stored_median_seconds stored_p99_seconds
    """,
}
"""By the contract; extra columns are ours."""
NAMES = (
    "tenant", "dialect", "event_name", "currency", "bet_result", "game_type", "game_provider", "campaign", "utm_source",
    "utm_medium", "utm_campaign", "status", "pattern", "end_reason", "basis", "stage", "topic", "route",
    "matched_by", "touch_name", "conversion_name", "conversion_campaign",
)  # fmt: skip
SINGLE = {("events", "amount"), ("events", "bet_result_amount"), ("bets", "stake"), ("open_bets", "stake")}


@pytest.fixture(scope="module")
def found(clickhouse: str) -> Iterator[Warehouse]:
    with warehouse(clickhouse, f"warehouse_{random.randbytes(4).hex()}") as made:
        yield made


@pytest.fixture(scope="module")
def columns(found: Warehouse) -> dict[str, dict[str, tuple[str, str]]]:
    """Type and comment, by table and column."""
    sql = "SELECT table, name, type, comment FROM system.columns WHERE database = currentDatabase()"
    tables: dict[str, dict[str, tuple[str, str]]] = {}
    for row in found.rows(sql):
        tables.setdefault(row["table"], {})[row["name"]] = (row["type"], row["comment"])
    return tables


def test_every_name_is_there(columns: dict[str, Any], found: Warehouse) -> None:
    for view, names in COLUMNS.items():
        assert set(names.split()) <= set(columns[view]), view
        found.rows(f"SELECT * FROM {view}")


def test_types_are_as_promised(columns: dict[str, Any]) -> None:
    for view in COLUMNS:
        for name, (kind, _) in columns[view].items():
            if name in NAMES and (view, name) != ("rejections", "status"):
                assert kind in ("LowCardinality(String)", "LowCardinality(Nullable(String))"), (view, name, kind)
            if "Decimal" in kind:
                expected = "Decimal(38, 18)" if (view, name) in SINGLE else "Decimal(76, 18)"
                assert expected in kind, (view, name, kind)
            if name.endswith("_at") or name in ("event_time", "complete_until", "timestamp"):
                assert "DateTime64(3, 'UTC')" in kind, (view, name, kind)
            if name.endswith("_seconds") or name in ("rtp", "hold"):
                assert "Float64" in kind, (view, name, kind)
            if name == "day":
                assert kind == "Date32", (view, name, kind)
    assert columns["bets"]["anomalies"][0] == "Array(String)"
    assert columns["events"]["event_id"][0] == "UUID"
    assert columns["events"]["payload"][0] == "String"
    assert columns["events"]["properties"][0].startswith("JSON")
    assert columns["data_quality"]["hour"][0] == "DateTime('UTC')"


def test_results_of_sessions_have_all_columns_of_sessions(columns: dict[str, Any]) -> None:
    """But for bets and stake, which there are of the row's currency."""
    results = columns["session_results"]
    lost = {name for name, (kind, _) in columns["sessions"].items() if results.get(name, ("",))[0] != kind}
    assert lost == {"stake"}
    assert results["stake"][0] == "Decimal(76, 18)"


def test_everything_has_a_comment(columns: dict[str, Any], found: Warehouse) -> None:
    assert [(t, name) for t, cs in columns.items() for name, (_, comment) in cs.items() if not comment] == []
    assert found.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND comment = ''") == []


def test_what_is_not_stored_is_known(found: Warehouse) -> None:
    """A field without a column of its name is dropped in silence: these are meant."""
    dropped = {}
    for feed in found.feeds.values():
        assert feed.topic.value is not None
        sent = {column.name for column in feed.tables[0].columns}
        fields = {field["name"] for field in feed.topic.value.latest.schema["fields"]}
        dropped[feed.topic.name] = fields - sent
    assert {topic: names for topic, names in dropped.items() if names} == {
        "events": {"fingerprint", "identity", "bet_key"},
        "sessions": {"identity", "withdrawn", "assigned"},
        "duplicates": {"payload"},
    }


def bet(nth: int, **given: Any) -> Record:
    row: dict[str, Any] = {field["name"]: None for field in BET.latest.schema["fields"]}
    row |= {"tenant": "acme", "bet_id": f"b{nth}", "status": "won", "pattern": "B", "anomalies": [], "epoch": 0}
    row |= {"settlement_count": 1, "placed_at": T0, "settled_at": T0, "first_received_at": T0, "partition": 0}
    row |= {"offset": nth, "ingest_log": 1, "ingest_partition": 0, "ingest_offset": nth, "currency": "USD"} | given
    return Record(BETS.name, 0, nth, T0, None, BET.encode(row))


def test_sums_are_exact_where_a_single_amounts_type_overflows(found: Warehouse) -> None:
    count, largest = 3000, money.to_bytes(LARGEST)
    amounts = {"stake": largest, "net_result": largest, "payout": money.to_bytes(2 * LARGEST)}
    amounts["ggr"] = money.to_bytes(-LARGEST)
    found.store([bet(nth, **amounts) for nth in range(count)])
    (row,) = found.rows("SELECT stake, payout, ggr, rtp, hold FROM ggr_daily WHERE basis = 'settled'")
    with localcontext() as context:
        context.prec = 100
        one = Decimal(LARGEST).scaleb(-18)
        assert (row["stake"], row["payout"], row["ggr"]) == (count * one, 2 * count * one, -count * one)
    assert (row["rtp"], row["hold"]) == (2.0, -1.0)


def test_a_ratio_over_nothing_is_null(found: Warehouse) -> None:
    zero = money.to_bytes(0)
    amounts = dict.fromkeys(("stake", "net_result", "payout", "ggr"), zero)
    found.store([bet(10_000, **amounts, currency="XXX")])
    (row,) = found.rows("SELECT rtp, hold FROM ggr_daily WHERE basis = 'placed' AND currency = 'XXX'")
    assert (row["rtp"], row["hold"]) == (None, None)


_offsets = iter(range(10**9))


def an_event(**given: Any) -> Record:
    nth = next(_offsets)
    headers = ((HEADER, source("dedup", 0, 5, 0) + place(nth, 0)),)
    return Record(EVENTS.name, 0, nth, T0, None, EVENT.encode(event(nth=nth, **given)), headers)


NUMBERS = st.sampled_from(["1e400", "-1E+999", "1" * 400, "9" * 250 + "e99", "0." + "3" * 400, "1e-999", "-0",
                           "1.5e308", "123456789012345678901234567890", "1.7976931348623159e308"])  # fmt: skip
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["a", "a.b", "b", ".", "a.", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10) | NUMBERS.map(lambda text: f"\0{text}"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=25,
)  # fmt: skip


@given(st.lists(st.dictionaries(KEYS, VALUES, max_size=5), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_object_can_be_stored(found: Warehouse, documents: list[dict[str, Any]]) -> None:
    records, texts = [], []
    for document in documents:
        text = json.dumps(document, ensure_ascii=False)
        for number in ("1e400", "-1E+999", "1" * 400, "9" * 250 + "e99"):
            text = text.replace(f'"\\u0000{number}"', number)
        records.append(an_event(properties=text))
        texts.append(text.encode())
    bad = found.store(records)
    assert [(row.cause.value, row.error) for row in bad] == []
    which = "FROM events WHERE ingest_log = 5 AND ingest_offset >= {least:UInt64} ORDER BY ingest_offset"
    least = min(record.offset for record in records)
    found.rows(f"SELECT properties {which}", least=least)
    stored = [row["text"] for row in found.rows(f"SELECT toJSONString(properties) AS text {which}", least=least)]
    again = as_stored(found.client, texts)  # what `sluice audit --deep` compares with
    assert list(map(json.loads, again)) == list(map(json.loads, stored))


def test_a_property_that_looks_like_a_date_stays_the_text_that_was_sent(found: Warehouse) -> None:
    sent = {"day": "2024-01-15", "at": "2024-01-15T10:30:00Z", "times": ["2024-01-15 10:30:00"], "id": "20240115"}
    record = an_event(properties=json.dumps(sent))
    assert found.store([record]) == []
    sql = (
        "SELECT properties, properties.at.:String AS at FROM events WHERE (ingest_log, ingest_offset) = (5, {n:Int64})"
    )
    assert found.rows(sql, n=record.offset) == [{"properties": sent, "at": sent["at"]}]


def test_an_insert_makes_one_file(found: Warehouse) -> None:
    assert found.store([an_event()]) == []
    sql = "SELECT part_storage_type FROM system.parts WHERE database = currentDatabase() AND table = 'events_rows'"
    assert {row["part_storage_type"] for row in found.rows(sql)} == {"Packed"}
    sql = "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {name:String}"
    seldom = {"agent_epochs_rows"}
    for name in {table.name for feed in found.feeds.values() for table in feed.tables} - seldom:
        ((engine,),) = found.client.query(sql, parameters={"name": name}).result_rows
        assert "min_bytes_for_full_part_storage = 10485760, min_bytes_for_wide_part = 33554432" in engine, name


def test_deep_json_can_be_stored(found: Warehouse) -> None:
    deep = '{"a":' * 63 + "1" + "}" * 63
    wide = '{"a":' + "[" * 62 + "1" + "]" * 62 + "}"
    assert found.store([an_event(properties=deep), an_event(properties=wide)]) == []


def test_a_row_refused_alone_is_found(found: Warehouse) -> None:
    records = [an_event() for _ in range(99)]
    records.insert(60, an_event(properties="[1]"))
    records.insert(7, an_event(properties="no JSON"))
    bad = found.store(records)
    assert [records.index(row.cause) for row in bad] == [7, 61]
    offsets = [record.offset for record in records if record.offset not in {row.cause.offset for row in bad}]
    sql = "SELECT ingest_offset FROM events WHERE ingest_log = 5 AND ingest_offset >= {least:UInt64} ORDER BY ALL"
    assert [row["ingest_offset"] for row in found.rows(sql, least=min(offsets))] == sorted(offsets)


def test_an_analyst_reads_everything_and_changes_nothing(found: Warehouse, uses_containers: bool) -> None:
    if uses_containers:
        found.client.command("CREATE USER IF NOT EXISTS anna DEFAULT ROLE sluice_analyst")
        name, password = "anna", ""
    else:
        defaults = load()
        name, password = defaults.analyst_user, defaults.analyst_password.get_secret_value()
    analyst = connect(found.settings.model_copy(update={"clickhouse_user": name, "clickhouse_password": load(
        clickhouse_password=password).clickhouse_password}))  # fmt: skip
    for view in COLUMNS:
        analyst.query(f"SELECT * FROM {view}")
    for statement in (
        "INSERT INTO freshness_rows (stage, complete_until) VALUES ('x', 0)",
        "ALTER TABLE events_rows DELETE WHERE 1",
        "DROP TABLE events_rows",
        "CREATE TABLE mine (a Int8) ENGINE = Memory",
        "OPTIMIZE TABLE events_rows",
    ):
        with pytest.raises(DatabaseError):
            analyst.command(statement)
    analyst.close()


def test_codes_are_the_servers(found: Warehouse) -> None:
    for code, (_, reason) in CODES.items():
        assert found.value(f"SELECT errorCodeToName({code})") == reason.split(":")[0]


def test_what_an_error_means() -> None:
    assert classify(DatabaseError("x", code=252))[0] is Outcome.RETRY
    assert classify(DatabaseError("x", code=516))[0] is Outcome.STOP
    assert classify(DatabaseError("x", code=117))[0] is Outcome.BAD_ROW
    assert classify(DatabaseError("x", code=987654))[0] is Outcome.RETRY
    assert classify(OverflowError("x"))[0] is Outcome.BAD_ROW
    assert classify(ConnectionResetError("x"))[0] is Outcome.RETRY
    assert classify(DatabaseError("no code at all"))[0] is Outcome.RETRY
