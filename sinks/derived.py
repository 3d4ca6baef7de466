"""Bets, sessions and attributions against the events from which they follow, while nothing is on its way.

An erased person's conversions keep one link, the player; rows of the others are not asked for any more.

Not the agents' logic again (the tests do that), but whether each row that must exist does, once, with all
its events: what a lost, doubled or removed row of theirs would break.
"""

from clickhouse_connect.driver.client import Client

_WAGERS = """
SELECT DISTINCT cityHash64(tenant, assumeNotNull(id)) AS h
FROM
(
    SELECT tenant, if(event_name = 'bet', transaction_id, parent_transaction_id) AS id
    FROM events WHERE event_name IN ('bet', 'win', 'loss') AND amount IS NOT NULL
)
WHERE id IS NOT NULL
"""
_ASSIGNED = """
SELECT session_id, count() AS events FROM assignments_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'sessions')
GROUP BY session_id
"""
_PLACE = "received_at, ingest_log, ingest_partition, ingest_offset"
_COPIED = f"SELECT {_PLACE}, session_id FROM events WHERE session_id IS NOT NULL"  # noqa: S608
_TRUE = f"""
SELECT {_PLACE}, session_id FROM assignments_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'sessions')
"""  # noqa: S608
_SUM = f"SELECT (count(), sum(cityHash64({_PLACE}, assumeNotNull(session_id)))) FROM "  # noqa: S608
_MISPLACED = f"""
SELECT count() FROM (SELECT {_PLACE}, session_id FROM events) AS event
LEFT ANY JOIN (SELECT {_PLACE}, toNullable(session_id) AS assigned FROM ({_TRUE})) AS truth USING ({_PLACE})
WHERE event.session_id IS DISTINCT FROM truth.assigned
SETTINGS join_algorithm = 'full_sorting_merge,hash'
"""  # noqa: S608
MISPLACED = "events whose session is not the one that they were assigned to"
_CONVERSIONS = """
SELECT cityHash64(ingest_log, ingest_partition, ingest_offset) AS h FROM events
WHERE event_name IN ('conversion', 'register', 'registration', 'signup') AND NOT is_late
"""
_ATTRIBUTED = """
SELECT cityHash64(conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset) AS h FROM attributions
"""
_LINKS = """
SELECT cityHash64(ingest_log, ingest_partition, ingest_offset, link) AS h
FROM
(
    SELECT
        ingest_log, ingest_partition, ingest_offset,
        arrayFilter((name, value) -> ifNull(value, '') != '', ['click_id', 'player', 'device'],
            [click_id, player_id, device_id]) AS links
    FROM events WHERE event_name IN ('conversion', 'register', 'registration', 'signup') AND NOT is_late
)
ARRAY JOIN if(empty(links), ['event'], links) AS link
"""
_LINK_ROWS = """
SELECT cityHash64(conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset, toString(link)) AS h
FROM attributions_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'attribution')
"""
_TOUCHES = """
SELECT ingest_log, ingest_partition, ingest_offset FROM events
WHERE event_name IN ('click', 'impression') AND NOT is_late
"""
QUESTIONS = {
    "bets that events name and that have no row": (
        f"SELECT count() FROM ({_WAGERS}) WHERE h NOT IN (SELECT cityHash64(tenant, bet_id) FROM bets)"  # noqa: S608
    ),
    "bets that no event names": (
        f"SELECT count() FROM bets WHERE cityHash64(tenant, bet_id) NOT IN ({_WAGERS})"  # noqa: S608
    ),
    "bets with more than one row": "SELECT count() - uniqExact(cityHash64(tenant, bet_id)) FROM bets",
    "sessions with more or fewer events than belong to them": (
        "SELECT count() FROM (SELECT session_id, events FROM sessions) AS session"  # noqa: S608
        f" FULL OUTER JOIN ({_ASSIGNED}) AS assigned USING session_id WHERE session.events != assigned.events"
    ),
    "conversions that events name, in time, and that have no attribution": (
        f"SELECT count() FROM ({_CONVERSIONS}) WHERE h NOT IN ({_ATTRIBUTED})"  # noqa: S608
    ),
    "attributions of what is no conversion": (
        f"SELECT count() FROM ({_ATTRIBUTED}) WHERE h NOT IN ({_CONVERSIONS})"  # noqa: S608
    ),
    "links of conversions, in time, that have no row": (
        f"SELECT count() FROM ({_LINKS}) WHERE h NOT IN ({_LINK_ROWS})"  # noqa: S608
    ),
    "links of conversions with more than one row": f"SELECT count() - uniqExact(h) FROM ({_LINK_ROWS})",  # noqa: S608
    "attributions to what is no touch": (
        "SELECT count() FROM attributions WHERE touch_id IS NOT NULL AND"  # noqa: S608
        f" (touch_ingest_log, touch_ingest_partition, touch_ingest_offset) NOT IN ({_TOUCHES})"
    ),
    "events with an identity, in time, and without a session": (
        "SELECT countIf(NOT is_late AND (player_id IS NOT NULL OR device_id IS NOT NULL) AND session_id IS NULL)"
        " FROM events"
    ),
}


def compare(client: Client) -> dict[str, int]:
    """How many, for each question whose answer is not none."""
    found = {question: int(client.command(sql)) for question, sql in QUESTIONS.items()}  # type: ignore[arg-type]
    copied, assigned = (client.command(f"{_SUM} ({rows})") for rows in (_COPIED, _TRUE))
    if copied != assigned:  # or an event is a dead letter; which of both takes a join to say
        found[MISPLACED] = int(client.command(_MISPLACED))  # type: ignore[arg-type]
    return {question: count for question, count in found.items() if count}
