-- Gaming revenue by day. Days are UTC. Orphaned bets are excluded, since neither stake nor result is known; what is double
-- reported counts once, since the bet counts, not its reports. A null name is the empty text here, so that rows can be
-- joined and no two differ by null alone. Sums are Decimal(76, 18): in Decimal(38, 18) they overflow in silence.

CREATE VIEW ggr_daily
(
    day Date COMMENT 'UTC day on which the bets were placed or settled, as basis says',
    basis LowCardinality(String) COMMENT 'placed or settled: filter by one of them, or bets count twice',
    tenant LowCardinality(String) COMMENT 'workspace',
    game_provider LowCardinality(String) COMMENT 'provider of the game; empty where unknown',
    game_type LowCardinality(String) COMMENT 'type of game; empty where unknown',
    currency LowCardinality(String) COMMENT 'currency of all amounts; empty where unknown',
    bets UInt64 COMMENT 'bets that are won or lost',
    players UInt64 COMMENT 'distinct players of those',
    stake Decimal(76, 18) COMMENT 'stakes of those',
    payout Decimal(76, 18) COMMENT 'stake and net result of those',
    ggr Decimal(76, 18) COMMENT 'gross gaming revenue: stake - payout',
    rtp Nullable(Float64) COMMENT 'return to player: payout / stake; null where the stake is 0',
    hold Nullable(Float64) COMMENT 'ggr / stake; null where the stake is 0',
    open_bets UInt64 COMMENT 'bets without a result yet (basis placed only)',
    open_stake Decimal(76, 18) COMMENT 'their stakes (basis placed only)'
)
AS SELECT
    day, basis, tenant, game_provider, game_type, currency, bets, players, stake, payout, ggr,
    toFloat64(payout) / nullIf(toFloat64(stake), 0) AS rtp,
    toFloat64(ggr) / nullIf(toFloat64(stake), 0) AS hold,
    open_bets, open_stake
FROM
(
    SELECT
        toDate(assumeNotNull(bet.placed_at)) AS day, 'placed' AS basis, tenant,
        ifNull(bet.game_provider, '') AS game_provider, ifNull(bet.game_type, '') AS game_type,
        ifNull(bet.currency, '') AS currency,
        countIf(status != 'open') AS bets, uniqExactIf(bet.player_id, status != 'open') AS players,
        ifNull(sumIf(toDecimal256(bet.stake, 18), status != 'open'), 0) AS stake,
        ifNull(sumIf(bet.payout, status != 'open'), 0) AS payout,
        ifNull(sumIf(bet.ggr, status != 'open'), 0) AS ggr,
        countIf(status = 'open') AS open_bets,
        ifNull(sumIf(toDecimal256(bet.stake, 18), status = 'open'), 0) AS open_stake
    FROM bets AS bet
    WHERE status != 'orphaned'
    GROUP BY day, tenant, game_provider, game_type, currency
    UNION ALL
    SELECT
        toDate(assumeNotNull(bet.settled_at)) AS day, 'settled' AS basis, tenant,
        ifNull(bet.game_provider, '') AS game_provider, ifNull(bet.game_type, '') AS game_type,
        ifNull(bet.currency, '') AS currency,
        count() AS bets, uniqExact(bet.player_id) AS players,
        ifNull(sum(toDecimal256(bet.stake, 18)), 0) AS stake,
        ifNull(sum(bet.payout), 0) AS payout,
        ifNull(sum(bet.ggr), 0) AS ggr,
        0 AS open_bets, toDecimal256(0, 18) AS open_stake
    FROM bets AS bet
    WHERE status IN ('won', 'lost')
    GROUP BY day, tenant, game_provider, game_type, currency
)
COMMENT 'A row is a day, basis, tenant, provider, type of game and currency; restated when a settlement comes late';

CREATE VIEW player_daily
(
    day Date COMMENT 'UTC day',
    tenant LowCardinality(String) COMMENT 'workspace',
    player_id String COMMENT 'player',
    currency LowCardinality(String) COMMENT 'currency of all amounts; empty where there is none',
    bets UInt64 COMMENT 'bets placed on the day that are won or lost by now',
    stake Decimal(76, 18) COMMENT 'their stakes',
    payout Decimal(76, 18) COMMENT 'their stakes and net results',
    ggr Decimal(76, 18) COMMENT 'gross gaming revenue of those: stake - payout',
    open_bets UInt64 COMMENT 'bets placed on the day without a result yet',
    open_stake Decimal(76, 18) COMMENT 'their stakes',
    settled_bets UInt64 COMMENT 'bets settled on the day, whenever placed',
    settled_stake Decimal(76, 18) COMMENT 'their stakes',
    settled_payout Decimal(76, 18) COMMENT 'their stakes and net results',
    settled_ggr Decimal(76, 18) COMMENT 'gross gaming revenue of those',
    deposits Decimal(76, 18) COMMENT 'amounts of events named deposit',
    withdrawals Decimal(76, 18) COMMENT 'amounts of events named withdraw',
    sessions UInt64 COMMENT 'sessions begun on the day; in the row with the empty currency only',
    active_seconds Float64 COMMENT 'active time of those, in seconds; in the row with the empty currency only'
)
AS SELECT
    day, tenant, player_id, currency, sum(a_bets) AS bets, sum(a_stake) AS stake, sum(a_payout) AS payout, sum(a_ggr) AS ggr,
    sum(a_open_bets) AS open_bets, sum(a_open_stake) AS open_stake, sum(a_settled_bets) AS settled_bets,
    sum(a_settled_stake) AS settled_stake, sum(a_settled_payout) AS settled_payout, sum(a_settled_ggr) AS settled_ggr,
    sum(a_deposits) AS deposits, sum(a_withdrawals) AS withdrawals, sum(a_sessions) AS sessions,
    sum(a_active_ms) / 1000 AS active_seconds
FROM
(
    SELECT
        toDate(assumeNotNull(placed_at)) AS day, tenant, assumeNotNull(bet.player_id) AS player_id,
        ifNull(bet.currency, '') AS currency,
        countIf(status != 'open') AS a_bets, ifNull(sumIf(toDecimal256(stake, 18), status != 'open'), 0) AS a_stake,
        ifNull(sumIf(payout, status != 'open'), 0) AS a_payout, ifNull(sumIf(ggr, status != 'open'), 0) AS a_ggr,
        countIf(status = 'open') AS a_open_bets, ifNull(sumIf(toDecimal256(stake, 18), status = 'open'), 0) AS a_open_stake,
        0 AS a_settled_bets, toDecimal256(0, 18) AS a_settled_stake, toDecimal256(0, 18) AS a_settled_payout,
        toDecimal256(0, 18) AS a_settled_ggr, toDecimal256(0, 18) AS a_deposits, toDecimal256(0, 18) AS a_withdrawals,
        0 AS a_sessions, 0 AS a_active_ms
    FROM bets AS bet
    WHERE status != 'orphaned' AND bet.player_id IS NOT NULL
    GROUP BY day, tenant, player_id, currency
    UNION ALL
    SELECT
        toDate(assumeNotNull(settled_at)) AS day, tenant, assumeNotNull(bet.player_id) AS player_id,
        ifNull(bet.currency, '') AS currency,
        0, 0, 0, 0, 0, 0,
        count(), ifNull(sum(toDecimal256(stake, 18)), 0), ifNull(sum(payout), 0), ifNull(sum(ggr), 0),
        0, 0, 0, 0
    FROM bets AS bet
    WHERE status IN ('won', 'lost') AND bet.player_id IS NOT NULL
    GROUP BY day, tenant, player_id, currency
    UNION ALL
    SELECT
        toDate(event_time) AS day, tenant, assumeNotNull(event.player_id) AS player_id, ifNull(event.currency, '') AS currency,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ifNull(sumIf(toDecimal256(amount, 18), event_name = 'deposit'), 0),
        ifNull(sumIf(toDecimal256(amount, 18), event_name = 'withdraw'), 0),
        0, 0
    FROM events AS event
    WHERE event_name IN ('deposit', 'withdraw') AND amount IS NOT NULL AND event.player_id IS NOT NULL
    GROUP BY day, tenant, player_id, currency
    UNION ALL
    SELECT
        toDate(started_at) AS day, tenant, assumeNotNull(session.player_id) AS player_id, '' AS currency,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        count(), sum(toInt64(round(active_seconds * 1000)))
    FROM sessions AS session
    WHERE session.player_id IS NOT NULL
    GROUP BY day, tenant, player_id
)
GROUP BY day, tenant, player_id, currency
COMMENT 'A row is a day, tenant, player and currency; restated when a settlement or an event comes late';

CREATE VIEW session_results
(
    session_id UUID COMMENT 'session',
    currency LowCardinality(String) COMMENT 'currency of all amounts; empty where unknown',
    tenant LowCardinality(String) COMMENT 'workspace',
    player_id Nullable(String) COMMENT 'player',
    device_id Nullable(String) COMMENT 'device, where no player is known',
    started_at DateTime64(3, 'UTC') COMMENT 'first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'last event so far',
    end_reason LowCardinality(String) COMMENT 'ended, stopped or idle',
    is_open Bool COMMENT 'not ended, and ended_at is no longer ago than the gap',
    duration_seconds Float64 COMMENT 'ended_at - started_at, in seconds',
    active_seconds Float64 COMMENT 'duration without the time from each session_stop to the event after it, in seconds',
    events UInt64 COMMENT 'events in the session',
    bets UInt64 COMMENT 'bets placed in the session that are won or lost by now',
    stake Decimal(76, 18) COMMENT 'their stakes',
    payout Decimal(76, 18) COMMENT 'their stakes and net results',
    ggr Decimal(76, 18) COMMENT 'gross gaming revenue of those: stake - payout',
    open_bets UInt64 COMMENT 'bets placed in the session without a result yet',
    open_stake Decimal(76, 18) COMMENT 'their stakes'
)
AS SELECT
    session.session_id AS session_id, result.currency AS currency, session.tenant AS tenant, session.player_id AS player_id,
    session.device_id AS device_id, session.started_at AS started_at, session.ended_at AS ended_at,
    session.end_reason AS end_reason, session.is_open AS is_open, session.duration_seconds AS duration_seconds,
    session.active_seconds AS active_seconds, session.events AS events, result.bets AS bets, result.stake AS stake,
    result.payout AS payout, result.ggr AS ggr, result.open_bets AS open_bets, result.open_stake AS open_stake
FROM sessions AS session
INNER JOIN
(
    SELECT
        assigned.session_id AS session_id, ifNull(bet.currency, '') AS currency,
        countIf(status != 'open') AS bets,
        ifNull(sumIf(toDecimal256(bet.stake, 18), status != 'open'), 0) AS stake,
        ifNull(sumIf(bet.payout, status != 'open'), 0) AS payout,
        ifNull(sumIf(bet.ggr, status != 'open'), 0) AS ggr,
        countIf(status = 'open') AS open_bets,
        ifNull(sumIf(toDecimal256(bet.stake, 18), status = 'open'), 0) AS open_stake
    FROM
    (
        SELECT ingest_log, ingest_partition, ingest_offset, session_id
        FROM assignments_rows FINAL
        WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'sessions')
    ) AS assigned
    INNER JOIN (SELECT * FROM bets WHERE status != 'orphaned') AS bet
        ON assigned.ingest_log = bet.bet_ingest_log AND assigned.ingest_partition = bet.bet_ingest_partition
        AND assigned.ingest_offset = bet.bet_ingest_offset
    GROUP BY session_id, currency
) AS result ON session.session_id = result.session_id
SETTINGS do_not_merge_across_partitions_select_final = 1, join_use_nulls = 0
COMMENT 'A row is a session and a currency in which bets were placed in it; sessions without bets are in sessions only';
