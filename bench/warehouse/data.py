"""Synthetic traffic, made by ClickHouse itself, inserted as the sink inserts: by time, in blocks, bets more than once.

2,000 events a second, of which a quarter are bets: half of those carry their result, the others are settled by a win or
loss about 30 seconds later, but for a tenth, which stay open. A block is ten seconds, and overlaps the next by two, as
blocks do where partitions are behind each other. Parts are left as merges in the background leave them.
"""

from clickhouse_connect.driver.client import Client

from sinks.copies import Copier
from sinks.spacers import SPACERS, Spacing, put

RATE = 2000
BLOCK = 20_000
START = "toDateTime64('2026-01-05 00:00:00', 3, 'UTC')"
OPEN_FOR = 60_000
"""Events after which a bet is settled."""
OVERLAP = 2000
"""Milliseconds by which an event may have been received later than its number says, and be in the next block's time."""
_RECEIVED = f"{{start}} + n / {{rate}} + cityHash64(n, 9) % {OVERLAP} / 1000"

_EVENTS = """
INSERT INTO events_rows (ingest_log, ingest_partition, ingest_offset, event_id, dedup_key, tenant, dialect, event_name,
    event_time, received_at, is_late, player_id, transaction_id, parent_transaction_id, amount, currency, game_type,
    game_provider, campaign, click_id, ip_address, properties, payload, stored_at)
SELECT 77, n % 8, intDiv(n, 8), reinterpretAsUUID(sipHash128(n)),
    concat('["acme","revosurge","tx","bet","tx_', toString(n), '"]'),
    ['acme', 'beta', 'gamma'][n % 3 + 1], ['revosurge', 'adwize', 'gamerebellion', 'scrip', 'absinthe'][n % 5 + 1],
    multiIf(n % 4 = 0, 'bet', n % 8 = 1, if(n % 16 = 1, 'win', 'loss'), n % 8 = 3, 'deposit',
            ['login', 'impression', 'click', 'conversion', 'register', 'withdraw'][cityHash64(n, 5) % 6 + 1]),
    received - (cityHash64(n, 1) % 3000) / 1000, {received} AS received, 0,
    concat('player-', toString(cityHash64(intDiv(n, 40), n % 7) % 300000)), concat('tx_', toString(n)),
    if(n % 8 = 1, concat('tx_', toString(greatest(toInt64(n) - 1 - {open_for}, 0))), NULL),
    if(n % 2 = 0 OR n % 8 IN (1, 3), (cityHash64(n, 2) % 100000) / 100, NULL), ['USD', 'EUR', 'BTC'][n % 11 % 3 + 1],
    ['slot', 'table', 'live'][cityHash64(n, 3) % 3 + 1], concat('provider-', toString(cityHash64(n, 4) % 20)),
    ['spring', 'summer', 'autumn', 'winter'][cityHash64(n, 6) % 4 + 1], concat('clk_', hex(cityHash64(n, 7))),
    '203.0.113.1', '{{"level":3,"extra":"abc"}}',
    concat('{{"transaction_id":"tx_', toString(n), '","x":"', repeat(hex(cityHash64(n, 8)), 15), '"}}'),
    received + 1
FROM (SELECT number + {first} AS n FROM numbers({count}))
""".replace("{received}", _RECEIVED)
_BETS = """
INSERT INTO bets_rows (epoch, first_received_at, tenant, bet_id, player_id, status, pattern, game_type, game_provider,
    currency, stake, net_result, payout, ggr, placed_at, settled_at, settlement_count, bet_ingest_log,
    bet_ingest_partition, bet_ingest_offset, partition, offset, ingest_log, ingest_partition, ingest_offset, version)
SELECT 0, {start} + n / {rate} AS received, ['acme', 'beta', 'gamma'][n % 3 + 1], concat('tx_', toString(n)),
    concat('player-', toString(cityHash64(intDiv(n, 40), n % 7) % 300000)), {status}, 'B',
    ['slot', 'table', 'live'][cityHash64(n, 3) % 3 + 1], concat('provider-', toString(cityHash64(n, 4) % 20)),
    ['USD', 'EUR', 'BTC'][n % 11 % 3 + 1], toDecimal256((cityHash64(n, 2) % 100000) / 100, 18) AS amount,
    {net} AS result, amount + result, -result, received - 1, {settled}, {count_of}, 77, n % 8, intDiv(n, 8), n % 8,
    {version}, 77, n % 8, intDiv(n, 8), {version}
FROM (SELECT number * {step} + {first} AS n FROM numbers({count}))
"""
_ASSIGNMENTS = """
INSERT INTO assignments_rows (epoch, received_at, ingest_log, ingest_partition, ingest_offset, session_id, version,
    partition)
SELECT 0, {received}, 77, n % 8, intDiv(n, 8), reinterpretAsUUID(sipHash128(intDiv(n, 40), n % 7)), n, n % 8
FROM (SELECT number + {first} AS n FROM numbers({count}))
""".replace("{received}", _RECEIVED)
_SESSIONS = """
INSERT INTO sessions_rows (epoch, started_at, session_id, tenant, player_id, ended_at, end_reason, active_ms, gap_ms,
    events, bets, partition, offset, version, is_deleted)
SELECT 0, {start} + (g * 40) / {rate} AS started, reinterpretAsUUID(sipHash128(g, r)),
    ['acme', 'beta', 'gamma'][g % 3 + 1],
    concat('player-', toString(cityHash64(g, r) % 300000)), started + 5, 'idle', 5000, 1800000, 6, 1, g % 8, g, g, 0
FROM (SELECT number + {first} AS g FROM numbers({count})) ARRAY JOIN range(7) AS r
"""
_RESULT = "CAST(amount / 2 - 100 AS Nullable(Decimal(76, 18)))"
_SETTLED = {"status": "if(n % 16 < 8, 'won', 'lost')", "net": _RESULT, "settled": "received + 30", "count_of": 1}
_PLACED = {
    "status": f"if(n % 8 = 0, 'open', {_SETTLED['status']})",
    "net": f"if(n % 8 = 0, NULL, {_RESULT})",
    "settled": "if(n % 8 = 0, NULL, received)",
    "count_of": "n % 8 != 0",
}


def fill(client: Client, events: int, since: int = 0) -> None:
    """Inserts the events numbered from ``since`` to ``events`` with their bets, sessions and assignments."""
    copier = Copier(client)
    spacings = {view: Spacing(view) for view in SPACERS}
    start = int(client.command(f"SELECT toUnixTimestamp64Milli({START})"))  # type: ignore[arg-type]
    for first in range(since, events, BLOCK):
        common: dict[str, object] = {"start": START, "rate": RATE, "first": first, "count": BLOCK}
        client.command(_EVENTS.format(**common, open_for=OPEN_FOR))
        client.command(_ASSIGNMENTS.format(**common))
        low, high = (start + end * 1000 // RATE for end in (first, first + BLOCK))
        copier.copy([(low, high + OVERLAP)])
        client.command(_SESSIONS.format(**common | {"first": first // 40, "count": BLOCK // 40}))
        bets = common | {"count": BLOCK // 4, "step": 4}
        client.command(_BETS.format(**bets | _PLACED, version="n"))
        if first >= OPEN_FOR:
            bets |= {"first": first - OPEN_FOR, "step": 8, "count": BLOCK // 8}
            client.command(_BETS.format(**bets | _SETTLED, version=f"n + {OPEN_FOR}") + " WHERE n % 80 != 0")
        stored = {"events": BLOCK, "bets": BLOCK * 3 // 8, "sessions": BLOCK * 7 // 40}
        for view in (view for view, spacing in spacings.items() if spacing.due(stored[view])):
            put(client, view, [low, (low + high) // 2, high])
