"""Bets, sessions and attributions against the events from which they follow, while nothing is on its way.

An erased person's conversions keep one link, the player; rows of the others are not asked for any more.

Not the agents' logic again (the tests do that), but whether each row that must exist does, once, with all
its events: what a lost, doubled or removed row of theirs would break. What does not fit because a record is a dead
letter is left out, by the event's place, as long as the letter was not replayed: the letter itself is listed.
"""

from clickhouse_connect.driver.client import Client

BETS, SESSIONS, ATTRIBUTIONS = "bets", "sessions", "attributions"
STAGES = {
    BETS: ("pairing", "sink.bets", "sink.events"),
    SESSIONS: ("sessions", "sink.sessions", "sink.events"),
    ATTRIBUTIONS: ("touches", "attribution", "sink.attributions", "sink.events"),
}
"""Whose dead letters explain that something does not fit, by table."""
_HERE = "(ingest_log, ingest_partition, ingest_offset)"


def _lettered(table: str) -> str:
    """Places of events of which such a letter is waiting or discarded."""
    stages = ", ".join(f"'{stage}'" for stage in STAGES[table])
    return (
        "(SELECT assumeNotNull(ingest_log), assumeNotNull(ingest_partition), assumeNotNull(ingest_offset)"  # noqa: S608
        f" FROM dead_letters WHERE fate != 'replayed' AND stage IN ({stages})"
        " AND ingest_log IS NOT NULL AND ingest_partition IS NOT NULL AND ingest_offset IS NOT NULL)"
    )


_WAGERS = """
SELECT DISTINCT cityHash64(tenant, assumeNotNull(id)) AS h
FROM
(
    SELECT tenant, if(event_name = 'bet', transaction_id, parent_transaction_id) AS id
    FROM events WHERE event_name IN ('bet', 'win', 'loss') AND amount IS NOT NULL{condition}
)
WHERE id IS NOT NULL
"""
_NAMED = _WAGERS.replace("{condition}", "")
_NAMED_BY_LETTERS = _WAGERS.replace("{condition}", f" AND {_HERE} IN {_lettered(BETS)}")
_MADE_BY_LETTERS = f"""
SELECT cityHash64(tenant, bet_id) FROM bets_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'pairing') AND
(
    (ifNull(bet_ingest_log, 0), ifNull(bet_ingest_partition, 0), ifNull(bet_ingest_offset, 0)) IN {_lettered(BETS)}
    OR {_HERE} IN {_lettered(BETS)}
)
"""  # noqa: S608
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
PARTED = "sessions with more or fewer events than belong to them"
MISPLACED = "events whose session is not the one that they were assigned to"
_CONVERSIONS = """
SELECT cityHash64(ingest_log, ingest_partition, ingest_offset) AS h FROM events
WHERE event_name IN ('conversion', 'register', 'registration', 'signup') AND NOT is_late
"""
_CONVERSION = "(conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset)"
_ATTRIBUTED = f"SELECT cityHash64{_CONVERSION} AS h FROM attributions"  # noqa: S608
_LINKS = """
SELECT cityHash64(ingest_log, ingest_partition, ingest_offset, link) AS h
FROM
(
    SELECT
        ingest_log, ingest_partition, ingest_offset,
        arrayFilter((name, value) -> ifNull(value, '') != '', ['click_id', 'player', 'device'],
            [click_id, player_id, device_id]) AS links
    FROM events WHERE event_name IN ('conversion', 'register', 'registration', 'signup') AND NOT is_late
        AND {here} NOT IN {lettered}
)
ARRAY JOIN if(empty(links), ['event'], links) AS link
""".replace("{here}", _HERE).replace("{lettered}", _lettered(ATTRIBUTIONS))
_LINK_ROWS = """
SELECT cityHash64(conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset, toString(link)) AS h
FROM attributions_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'attribution')
"""
_TOUCHES = """
SELECT ingest_log, ingest_partition, ingest_offset FROM events
WHERE event_name IN ('click', 'impression') AND NOT is_late
"""
_DOUBLED = "SELECT count() - uniqExact({key}) FROM {rows}"
QUESTIONS = {
    "bets that events name and that have no row": (
        BETS,
        (
            f"SELECT count() FROM ({_NAMED}) WHERE h NOT IN (SELECT cityHash64(tenant, bet_id) FROM bets)"  # noqa: S608
            f" AND h NOT IN ({_NAMED_BY_LETTERS})"
        ),
    ),
    "bets that no event names": (
        BETS,
        (
            f"SELECT count() FROM (SELECT cityHash64(tenant, bet_id) AS h FROM bets) WHERE h NOT IN ({_NAMED})"  # noqa: S608
            f" AND h NOT IN ({_MADE_BY_LETTERS})"
        ),
    ),
    "bets with more than one row": ("", _DOUBLED.format(key="cityHash64(tenant, bet_id)", rows="bets")),
    PARTED: (
        SESSIONS,
        (
            "SELECT count() FROM (SELECT session_id, events FROM sessions) AS session"  # noqa: S608
            f" FULL OUTER JOIN ({_ASSIGNED}) AS assigned USING session_id WHERE session.events != assigned.events"
        ),
    ),
    "sessions with more than one row": ("", _DOUBLED.format(key="session_id", rows="sessions")),
    "conversions that events name, in time, and that have no attribution": (
        ATTRIBUTIONS,
        (
            f"SELECT count() FROM ({_CONVERSIONS} AND {_HERE} NOT IN {_lettered(ATTRIBUTIONS)})"  # noqa: S608
            f" WHERE h NOT IN ({_ATTRIBUTED})"
        ),
    ),
    "attributions of what is no conversion": (
        ATTRIBUTIONS,
        (
            f"SELECT count() FROM ({_ATTRIBUTED} WHERE {_CONVERSION} NOT IN {_lettered(ATTRIBUTIONS)})"  # noqa: S608
            f" WHERE h NOT IN ({_CONVERSIONS})"
        ),
    ),
    "links of conversions, in time, that have no row": (
        ATTRIBUTIONS,
        f"SELECT count() FROM ({_LINKS}) WHERE h NOT IN ({_LINK_ROWS})",  # noqa: S608
    ),
    "links of conversions with more than one row": ("", _DOUBLED.format(key="h", rows=f"({_LINK_ROWS})")),
    "attributions to what is no touch": (
        ATTRIBUTIONS,
        (
            "SELECT count() FROM"  # noqa: S608
            " (SELECT (assumeNotNull(touch_ingest_log), assumeNotNull(touch_ingest_partition),"
            " assumeNotNull(touch_ingest_offset)) AS touch FROM attributions WHERE touch_id IS NOT NULL)"
            f" WHERE touch NOT IN ({_TOUCHES}) AND touch NOT IN {_lettered(ATTRIBUTIONS)}"
        ),
    ),
    "events with an identity, in time, and without a session": (
        SESSIONS,
        (
            "SELECT count() FROM events WHERE NOT is_late AND (player_id IS NOT NULL OR device_id IS NOT NULL)"  # noqa: S608
            f" AND session_id IS NULL AND {_HERE} NOT IN {_lettered(SESSIONS)}"
        ),
    ),
}
"""With the table of which a dead letter may explain it; none explains that a row is there twice."""
_UNPLACED = """
SELECT stage, count() AS letters, countIf(ingest_log IS NULL OR ingest_partition IS NULL OR ingest_offset IS NULL)
FROM dead_letters WHERE fate != 'replayed' GROUP BY stage
"""


def compare(client: Client) -> dict[str, int]:
    """How many, for each question whose answer is not none."""
    found = {question: int(client.command(sql)) for question, (_, sql) in QUESTIONS.items()}  # type: ignore[arg-type]
    copied, assigned = (client.command(f"{_SUM} ({rows})") for rows in (_COPIED, _TRUE))
    if copied != assigned:  # or an event is a dead letter; which of both takes a join to say
        found[MISPLACED] = int(client.command(_MISPLACED))  # type: ignore[arg-type]
    found = {question: count for question, count in found.items() if count}
    return _unexplained(client, found) if found else found


def _unexplained(client: Client, found: dict[str, int]) -> dict[str, int]:
    """Without what dead letters explain whose event is not known, which is no more than there are such letters."""
    letters = {stage: (count, unplaced) for stage, count, unplaced in client.query(_UNPLACED).result_rows}
    most = {table: sum(letters.get(stage, (0, 0))[1] for stage in stages) for table, stages in STAGES.items()}
    if "sink.sessions" in letters:  # a record joins or splits sessions, and the letter names one event of theirs
        found = {question: count for question, count in found.items() if question != PARTED}
    explained = {question: most.get(table, 0) for question, (table, _) in QUESTIONS.items()}
    return {question: count for question, count in found.items() if count > explained.get(question, 0)}
