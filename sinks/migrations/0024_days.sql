-- Days of the daily views are Date32. Times by the sender begin in 1900, and Date, 16 bits from 1970 on, wraps in silence: what
-- happened on 1969-12-29 stood on 2149-06-04. All else of the views is as in migrations 0009 and 0010.

CREATE OR REPLACE VIEW ggr_daily
(
    day Date32 COMMENT 'UTC day on which the bets were placed or settled, as basis says',
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
        toDate32(assumeNotNull(bet.placed_at)) AS day, 'placed' AS basis, tenant,
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
        toDate32(assumeNotNull(bet.settled_at)) AS day, 'settled' AS basis, tenant,
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

CREATE OR REPLACE VIEW player_daily
(
    day Date32 COMMENT 'UTC day',
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
        toDate32(assumeNotNull(placed_at)) AS day, tenant, assumeNotNull(bet.player_id) AS player_id,
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
        toDate32(assumeNotNull(settled_at)) AS day, tenant, assumeNotNull(bet.player_id) AS player_id,
        ifNull(bet.currency, '') AS currency,
        0, 0, 0, 0, 0, 0,
        count(), ifNull(sum(toDecimal256(stake, 18)), 0), ifNull(sum(payout), 0), ifNull(sum(ggr), 0),
        0, 0, 0, 0
    FROM bets AS bet
    WHERE status IN ('won', 'lost') AND bet.player_id IS NOT NULL
    GROUP BY day, tenant, player_id, currency
    UNION ALL
    SELECT
        toDate32(event_time) AS day, tenant, assumeNotNull(event.player_id) AS player_id, ifNull(event.currency, '') AS currency,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ifNull(sumIf(toDecimal256(amount, 18), event_name = 'deposit'), 0),
        ifNull(sumIf(toDecimal256(amount, 18), event_name = 'withdraw'), 0),
        0, 0
    FROM events AS event
    WHERE event_name IN ('deposit', 'withdraw') AND amount IS NOT NULL AND event.player_id IS NOT NULL
    GROUP BY day, tenant, player_id, currency
    UNION ALL
    SELECT
        toDate32(started_at) AS day, tenant, assumeNotNull(session.player_id) AS player_id, '' AS currency,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        count(), sum(toInt64(round(active_seconds * 1000)))
    FROM sessions AS session
    WHERE session.player_id IS NOT NULL
    GROUP BY day, tenant, player_id
)
GROUP BY day, tenant, player_id, currency
COMMENT 'A row is a day, tenant, player and currency; restated when a settlement or an event comes late';

CREATE OR REPLACE VIEW funnel_daily
(
    day Date32 COMMENT 'UTC day of the events',
    tenant LowCardinality(String) COMMENT 'workspace',
    campaign LowCardinality(String) COMMENT 'campaign of the event; empty where it has none',
    impressions UInt64 COMMENT 'events named impression',
    clicks UInt64 COMMENT 'events named click',
    conversions UInt64 COMMENT 'events named conversion',
    registrations UInt64 COMMENT 'events named register, registration or signup',
    first_deposits UInt64 COMMENT 'players whose earliest event named deposit is on the day and carries the campaign'
)
AS SELECT
    day, tenant, campaign, sum(a_impressions) AS impressions, sum(a_clicks) AS clicks, sum(a_conversions) AS conversions,
    sum(a_registrations) AS registrations, sum(a_first_deposits) AS first_deposits
FROM
(
    SELECT
        toDate32(event_time) AS day, tenant, ifNull(event.campaign, '') AS campaign,
        countIf(event_name = 'impression') AS a_impressions, countIf(event_name = 'click') AS a_clicks,
        countIf(event_name = 'conversion') AS a_conversions,
        countIf(event_name IN ('register', 'registration', 'signup')) AS a_registrations, 0 AS a_first_deposits
    FROM events AS event
    WHERE event_name IN ('impression', 'click', 'conversion', 'register', 'registration', 'signup')
    GROUP BY day, tenant, campaign
    UNION ALL
    SELECT toDate32(first.1) AS day, tenant, first.2 AS campaign, 0, 0, 0, 0, count()
    FROM
    (
        SELECT tenant, player_id, argMin((event_time, ifNull(campaign, '')), (event_time, toString(event_id))) AS first
        FROM events
        WHERE event_name = 'deposit' AND player_id IS NOT NULL
        GROUP BY tenant, player_id
    )
    GROUP BY day, tenant, campaign
)
GROUP BY day, tenant, campaign
COMMENT 'A row is a day, tenant and campaign';
