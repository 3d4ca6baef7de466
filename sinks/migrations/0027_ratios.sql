-- rtp and hold to the last digit. ClickHouse makes a Float64 of a Decimal(76, 18) by steps, each of which rounds: 20001 came out as
-- 20001.000000000004. Of its text it makes the nearest one. All else is as in migration 0024.

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
    toFloat64(toString(payout)) / nullIf(toFloat64(toString(stake)), 0) AS rtp,
    toFloat64(toString(ggr)) / nullIf(toFloat64(toString(stake)), 0) AS hold,
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
