-- bets: a row per (tenant, bet id), updated as settlements come. The key is led by the time at which the first record of
-- the bet was received, which the pairing agent keeps: it never changes, and successive inserts hardly overlap
-- (docs/decisions/warehouse.md).

CREATE TABLE bets_rows
(
    epoch UInt32 COMMENT 'epoch of the pairing agent',
    first_received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the first record of the bet was received',
    tenant LowCardinality(String) COMMENT 'workspace',
    bet_id String COMMENT 'transaction_id of the bet',
    player_id Nullable(String) COMMENT 'player; of the first settlement while orphaned',
    status LowCardinality(String) COMMENT 'open, won, lost or orphaned',
    pattern LowCardinality(String) COMMENT 'A: the bet carries its result; B: settled by events of its own; empty while orphaned',
    game_type LowCardinality(Nullable(String)) COMMENT 'type of game',
    game_provider LowCardinality(Nullable(String)) COMMENT 'provider of the game',
    currency LowCardinality(Nullable(String)) COMMENT 'currency of all amounts',
    is_crypto Nullable(Bool) COMMENT 'whether the currency is a crypto currency',
    stake Nullable(Decimal(38, 18)) COMMENT 'the bet''s amount',
    net_result Nullable(Decimal(76, 18)) COMMENT 'player''s net result',
    payout Nullable(Decimal(76, 18)) COMMENT 'stake + net_result',
    ggr Nullable(Decimal(76, 18)) COMMENT '-net_result',
    placed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'event time of the bet',
    settled_at Nullable(DateTime64(3, 'UTC')) COMMENT 'latest event time of the settlements that count',
    settlement_count UInt32 COMMENT 'settlements that count',
    anomalies Array(LowCardinality(String)) COMMENT 'sorted names of what is odd',
    bet_ingest_log Nullable(Int64) COMMENT 'the bet event''s place in ingest.events: incarnation',
    bet_ingest_partition Nullable(UInt32) COMMENT 'the bet event''s place in ingest.events: partition',
    bet_ingest_offset Nullable(UInt64) COMMENT 'the bet event''s place in ingest.events: offset',
    partition UInt32 COMMENT 'partition of the agent''s input',
    offset UInt64 COMMENT 'offset in the agent''s input of the record that last touched the row',
    ingest_log Int64 COMMENT 'that record''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'that record''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'that record''s place in ingest.events: offset',
    version UInt64 COMMENT 'epoch * 2^48 + offset: the highest counts',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    checksum UInt64 DEFAULT cityHash64(tuple(epoch, first_received_at, tenant, bet_id, player_id, status, pattern, game_type, game_provider, currency, is_crypto, stake, net_result, payout, ggr, placed_at, settled_at, settlement_count, anomalies, bet_ingest_log, bet_ingest_partition, bet_ingest_offset, partition, offset, ingest_log, ingest_partition, ingest_offset, version)) COMMENT 'of the row as it was inserted, for sluice audit',
    INDEX bet_ids bet_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX players player_id TYPE bloom_filter GRANULARITY 4,
    INDEX statuses status TYPE set(4) GRANULARITY 1,
    INDEX placed placed_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (epoch, toYYYYMM(first_received_at))
ORDER BY (epoch, first_received_at, tenant, bet_id)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Bets as the pairing agent wrote them, behind the view bets';

CREATE VIEW bets
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
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'pairing')
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1
COMMENT 'A row is a bet';

CREATE VIEW open_bets
(
    tenant LowCardinality(String) COMMENT 'workspace',
    bet_id String COMMENT 'transaction_id of the bet',
    player_id Nullable(String) COMMENT 'player',
    game_type LowCardinality(Nullable(String)) COMMENT 'type of game',
    game_provider LowCardinality(Nullable(String)) COMMENT 'provider of the game',
    currency LowCardinality(Nullable(String)) COMMENT 'currency of the stake',
    is_crypto Nullable(Bool) COMMENT 'whether the currency is a crypto currency',
    stake Nullable(Decimal(38, 18)) COMMENT 'the bet''s amount',
    placed_at Nullable(DateTime64(3, 'UTC')) COMMENT 'event time of the bet',
    age_seconds Nullable(Float64) COMMENT 'now - placed_at, in seconds',
    anomalies Array(String) COMMENT 'sorted names of what is odd'
)
AS SELECT
    tenant, bet_id, player_id, game_type, game_provider, currency, is_crypto, stake, placed_at,
    (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(placed_at)) / 1000 AS age_seconds,
    anomalies
FROM bets
WHERE status = 'open'
COMMENT 'A row is a bet that no settlement has settled';
