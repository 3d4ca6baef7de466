-- session_results: all columns of the session; event_counts, deposits, withdrawals, gap_ms and stored_at were left out. They
-- are as in sessions, also the maps by currency: a session has a row for each currency in which bets were placed in it, and
-- its deposits may be in others, so that as a number of the row they would be lost or counted twice. bets and stake are those
-- of the row's currency, as before. All else of the view is as in migration 0009.

CREATE OR REPLACE VIEW session_results
(
    session_id UUID COMMENT 'session',
    currency LowCardinality(String) COMMENT 'currency of the bets and their amounts; empty where unknown',
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
    event_counts Map(LowCardinality(String), UInt64) COMMENT 'events in the session by name',
    deposits Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of all deposits in the session by currency, the same in each of its rows; deposits[currency]: in the row''s',
    withdrawals Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of all withdrawals in the session by currency, the same in each of its rows; withdrawals[currency]: in the row''s',
    gap_ms Int64 COMMENT 'the gap by which the session was cut, milliseconds',
    stored_at DateTime64(3, 'UTC') COMMENT 'when this state of the session was inserted',
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
    session.active_seconds AS active_seconds, session.events AS events, session.event_counts AS event_counts,
    session.deposits AS deposits, session.withdrawals AS withdrawals, session.gap_ms AS gap_ms,
    session.stored_at AS stored_at, result.bets AS bets, result.stake AS stake, result.payout AS payout,
    result.ggr AS ggr, result.open_bets AS open_bets, result.open_stake AS open_stake
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
COMMENT 'A row is a session and a currency in which bets were placed in it; what is the session''s own stands in each of its rows. Sessions without bets are in sessions only';
