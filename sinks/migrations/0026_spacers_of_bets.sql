-- bets and sessions: spacers are left out, rows that the sink puts among them so that FINAL merges less (sinks/spacers.py). Their
-- granules are found by the key behind its time, so that all of it is kept in memory. A hint is for indexes alone and judges no row:
--
-- * what is left of bets' spacers is told by the status, which costs less to read than what the key has, and sessions' are deleted rows;
-- * the epoch is the partition's, so that parts are of one epoch each and are taken or left as a whole. Without that ClickHouse is to refuse
--   the query (force_index_by_date).
--
-- Which epoch counts is asked of the table: the view agent_epochs costs a millisecond more.

ALTER TABLE bets_rows MODIFY SETTING primary_key_ratio_of_unique_prefix_values_to_skip_suffix_columns = 1;
ALTER TABLE sessions_rows MODIFY SETTING primary_key_ratio_of_unique_prefix_values_to_skip_suffix_columns = 1;

ALTER TABLE bets_rows COMMENT COLUMN status 'open, won, lost or orphaned; empty: a spacer, no bet';
ALTER TABLE sessions_rows COMMENT COLUMN is_deleted '1: withdrawn, this session no longer exists; or a spacer, no session';

ALTER TABLE bets_rows MODIFY COMMENT 'Bets as the pairing agent wrote them, and spacers among them, behind the view bets';
ALTER TABLE sessions_rows MODIFY COMMENT 'Sessions as the sessions agent wrote them, and spacers among them, behind the view sessions';

CREATE OR REPLACE VIEW bets
(
    tenant LowCardinality(String) COMMENT 'workspace',
    bet_id String COMMENT 'transaction_id of the bet',
    player_id Nullable(String) COMMENT 'player; of the first settlement while orphaned',
    status LowCardinality(String) COMMENT 'open: no settlement counts; won, lost: bet and result are known; orphaned: settlements without their bet',
    pattern LowCardinality(String) COMMENT 'A: the bet carries its result; B: settled by events of its own; empty while orphaned',
    game_type LowCardinality(Nullable(String)) COMMENT 'type of game',
    game_provider LowCardinality(Nullable(String)) COMMENT 'provider of the game',
    currency LowCardinality(Nullable(String)) COMMENT 'currency of all amounts',
    is_crypto Nullable(Bool) COMMENT 'whether the currency is a crypto currency',
    stake Nullable(Decimal(38, 18)) COMMENT 'the bet''s amount; sum it as toDecimal256(stake, 18)',
    net_result Nullable(Decimal(76, 18)) COMMENT 'player''s net result; null while open or orphaned',
    payout Nullable(Decimal(76, 18)) COMMENT 'stake + net_result',
    ggr Nullable(Decimal(76, 18)) COMMENT 'gross gaming revenue: -net_result',
    placed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'event time of the bet',
    settled_at Nullable(DateTime64(3, 'UTC')) COMMENT 'latest event time of the settlements that count; pattern A: placed_at',
    settlement_delay_seconds Nullable(Float64) COMMENT 'settled_at - placed_at, in seconds',
    settlement_count UInt32 COMMENT 'settlements that count; pattern A: 1; orphaned: those known',
    anomalies Array(String) COMMENT 'sorted: currency_mismatch, double_reported, multiple_bets, multiple_settlements, player_mismatch, settled_before_placed',
    stored_at DateTime64(3, 'UTC') COMMENT 'when this state of the row was inserted',
    first_received_at DateTime64(3, 'UTC') COMMENT 'when the first record of the bet was received',
    bet_ingest_log Nullable(Int64) COMMENT 'the bet event''s place in ingest.events: incarnation',
    bet_ingest_partition Nullable(UInt32) COMMENT 'the bet event''s place in ingest.events: partition',
    bet_ingest_offset Nullable(UInt64) COMMENT 'the bet event''s place in ingest.events: offset'
)
AS SELECT
    tenant, bet_id, player_id, status, pattern, game_type, game_provider, currency, is_crypto, stake, net_result, payout,
    ggr, placed_at, settled_at,
    (toUnixTimestamp64Milli(settled_at) - toUnixTimestamp64Milli(placed_at)) / 1000 AS settlement_delay_seconds,
    settlement_count, anomalies, stored_at, first_received_at, bet_ingest_log, bet_ingest_partition, bet_ingest_offset
FROM bets_rows FINAL
WHERE indexHint(tenant != '' AND epoch = (
        SELECT max(epoch) FROM (
            SELECT epoch FROM agent_epochs_rows WHERE agent = 'pairing'
            GROUP BY epoch HAVING uniqExact(partition) = max(partitions)
        )
    )) AND status != ''
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    use_partition_pruning = 1, force_index_by_date = 1
COMMENT 'A row is a bet';

CREATE OR REPLACE VIEW sessions
(
    session_id UUID COMMENT 'UUIDv5 of the identity and the first event''s (event_time, event_id)',
    tenant LowCardinality(String) COMMENT 'workspace',
    player_id Nullable(String) COMMENT 'player',
    device_id Nullable(String) COMMENT 'device, where no player is known',
    started_at DateTime64(3, 'UTC') COMMENT 'first event',
    ended_at DateTime64(3, 'UTC') COMMENT 'last event so far',
    end_reason LowCardinality(String) COMMENT 'ended: the last event is session_end; stopped: it is session_stop; else idle',
    is_open Bool COMMENT 'not ended, and ended_at is no longer ago than the gap',
    duration_seconds Float64 COMMENT 'ended_at - started_at, in seconds',
    active_seconds Float64 COMMENT 'duration without the time from each session_stop to the event after it, in seconds',
    events UInt64 COMMENT 'events in it',
    event_counts Map(LowCardinality(String), UInt64) COMMENT 'events by name',
    bets UInt64 COMMENT 'bet events',
    stake Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of bet amounts by currency',
    deposits Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of deposits by currency',
    withdrawals Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of withdrawals by currency',
    gap_ms Int64 COMMENT 'the gap by which the session was cut, milliseconds',
    stored_at DateTime64(3, 'UTC') COMMENT 'when this state of the row was inserted'
)
AS SELECT
    session_id, tenant, player_id, device_id, started_at, ended_at, end_reason,
    end_reason != 'ended' AND toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(ended_at) <= gap_ms AS is_open,
    (toUnixTimestamp64Milli(ended_at) - toUnixTimestamp64Milli(started_at)) / 1000 AS duration_seconds,
    active_ms / 1000 AS active_seconds,
    events, event_counts, bets, stake, deposits, withdrawals, gap_ms, stored_at
FROM sessions_rows FINAL
WHERE indexHint(session_id > toUUID('00000000-0000-0000-0000-000000099999') AND epoch = (
        SELECT max(epoch) FROM (
            SELECT epoch FROM agent_epochs_rows WHERE agent = 'sessions'
            GROUP BY epoch HAVING uniqExact(partition) = max(partitions)
        )
    ))
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    use_partition_pruning = 1, force_index_by_date = 1
COMMENT 'A row is a session of a player, or of a device where no player is known';
