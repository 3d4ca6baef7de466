-- events: one row per coordinate of ingest.events, never updated, so the key is the coordinate. received_at leads it:
-- successive inserts then hardly overlap and FINAL merges little (docs/decisions/warehouse.md). Of repeated
-- inserts of a row the first counts, so that stored_at says when the row was first to be seen.
--
-- Columns that follow from the coordinate end the sorting key, though they order nothing: a condition on them may then be
-- judged before FINAL (optimize_move_to_prewhere_if_final), and one event is found without reading its neighbours.
--
-- properties keeps few paths apart and the rest in one map: senders choose the keys, and with the defaults a sender of
-- random keys makes an insert three hundred times dearer and a merge open more files than there may be.
--
-- session_id is computed elsewhere and changes when late events join or split sessions: a narrow table of assignments
-- beside it, read by a correlated subquery that costs nothing where the column is not selected
-- (docs/decisions/session-of-an-event.md).

CREATE TABLE events_rows
(
    ingest_log Int64 COMMENT 'incarnation of the topic ingest.events: a number from its topic id',
    ingest_partition UInt32 COMMENT 'partition in ingest.events',
    ingest_offset UInt64 COMMENT 'offset in ingest.events',
    event_id UUID COMMENT 'UUIDv5 of the dedup key, UUIDv7 where there is none',
    dedup_key Nullable(String) COMMENT 'JSON array [tenant, dialect, rule, ...]; null: each such event counts',
    tenant LowCardinality(String) COMMENT 'workspace of the API key',
    dialect LowCardinality(String) COMMENT 'vendor API through which the event came',
    event_name LowCardinality(String) COMMENT 'what happened, by the name that the dialect gives it',
    event_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when it happened, by the sender',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the gateway received it',
    is_late Bool COMMENT 'received longer after it happened than the lateness setting: changes no session',
    player_id Nullable(String) COMMENT 'player',
    device_id Nullable(String) COMMENT 'device',
    transaction_id Nullable(String) COMMENT 'transaction',
    parent_transaction_id Nullable(String) COMMENT 'the bet that a settlement settles',
    amount Nullable(Decimal(38, 18)) COMMENT 'amount, exact',
    currency LowCardinality(Nullable(String)) COMMENT 'currency of the amounts',
    is_crypto Nullable(Bool) COMMENT 'whether the currency is a crypto currency',
    bet_result LowCardinality(Nullable(String)) COMMENT 'win or loss, where a bet carries its own result',
    bet_result_amount Nullable(Decimal(38, 18)) COMMENT 'player''s net result of such a bet',
    game_type LowCardinality(Nullable(String)) COMMENT 'type of game',
    game_provider LowCardinality(Nullable(String)) COMMENT 'provider of the game',
    click_id Nullable(String) COMMENT 'ad click',
    campaign LowCardinality(Nullable(String)) COMMENT 'campaign',
    utm_source LowCardinality(Nullable(String)) COMMENT 'UTM source',
    utm_medium LowCardinality(Nullable(String)) COMMENT 'UTM medium',
    utm_campaign LowCardinality(Nullable(String)) COMMENT 'UTM campaign',
    program_id Nullable(String) COMMENT 'scrip''s program',
    idempotency_key Nullable(String) COMMENT 'scrip''s key, else the Idempotency-Key header',
    ip_address Nullable(String) COMMENT 'end user''s address',
    user_agent Nullable(String) CODEC(ZSTD(1)) COMMENT 'end user''s agent',
    properties JSON(max_dynamic_paths = 32) COMMENT 'what has no column of its own; digits are rounded, dotted keys nested',
    payload String CODEC(ZSTD(1)) COMMENT 'the event''s exact bytes',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    version UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'of repeated inserts of a row the highest counts: the first',
    checksum UInt64 DEFAULT cityHash64(tuple(ingest_log, ingest_partition, ingest_offset, event_id, dedup_key, tenant, dialect, event_name, event_time, received_at, is_late, player_id, device_id, transaction_id, parent_transaction_id, amount, currency, is_crypto, bet_result, bet_result_amount, game_type, game_provider, click_id, campaign, utm_source, utm_medium, utm_campaign, program_id, idempotency_key, ip_address, user_agent, payload)) COMMENT 'of the row as it was inserted, for sluice audit',
    INDEX event_ids event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX transactions transaction_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX parents parent_transaction_id TYPE bloom_filter GRANULARITY 4,
    INDEX idempotency_keys idempotency_key TYPE bloom_filter GRANULARITY 4,
    INDEX players player_id TYPE bloom_filter GRANULARITY 4,
    INDEX event_times event_time TYPE minmax GRANULARITY 1,
    INDEX offsets ingest_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(received_at)
PRIMARY KEY (received_at, ingest_log, ingest_partition, ingest_offset)
ORDER BY (received_at, ingest_log, ingest_partition, ingest_offset, event_id, tenant, dialect, event_name, event_time)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1,
    object_shared_data_serialization_version = 'map', object_shared_data_serialization_version_for_zero_level_parts = 'map'
COMMENT 'Accepted, unique events as they were inserted, behind the view events';

CREATE TABLE assignments_rows
(
    epoch UInt32 COMMENT 'epoch of the sessions agent',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the gateway received the event',
    ingest_log Int64 COMMENT 'the event''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'the event''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'the event''s place in ingest.events: offset',
    session_id UUID COMMENT 'session to which the event belongs',
    version UInt64 COMMENT 'epoch * 2^48 + offset in the agent''s input: the highest counts',
    partition UInt32 COMMENT 'partition of the agent''s input'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (epoch, toYYYYMM(received_at))
ORDER BY (epoch, received_at, ingest_log, ingest_partition, ingest_offset)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Which session each event belongs to, as it was computed; read by the view events';

CREATE VIEW events
(
    event_id UUID COMMENT 'UUIDv5 of the dedup key, UUIDv7 where there is none',
    tenant LowCardinality(String) COMMENT 'workspace of the API key',
    dialect LowCardinality(String) COMMENT 'vendor API through which the event came',
    event_name LowCardinality(String) COMMENT 'what happened, by the name that the dialect gives it',
    event_time DateTime64(3, 'UTC') COMMENT 'when it happened, by the sender',
    received_at DateTime64(3, 'UTC') COMMENT 'when the gateway received it',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was inserted',
    player_id Nullable(String) COMMENT 'player',
    device_id Nullable(String) COMMENT 'device',
    session_id Nullable(UUID) COMMENT 'session to which the event belongs, as computed; null without player and device, and for late events',
    dedup_key Nullable(String) COMMENT 'JSON array [tenant, dialect, rule, ...]; null: each such event counts',
    transaction_id Nullable(String) COMMENT 'transaction',
    parent_transaction_id Nullable(String) COMMENT 'the bet that a settlement settles',
    amount Nullable(Decimal(38, 18)) COMMENT 'amount, exact; sum it as toDecimal256(amount, 18)',
    currency LowCardinality(Nullable(String)) COMMENT 'currency of the amounts',
    is_crypto Nullable(Bool) COMMENT 'whether the currency is a crypto currency',
    bet_result LowCardinality(Nullable(String)) COMMENT 'win or loss, where a bet carries its own result',
    bet_result_amount Nullable(Decimal(38, 18)) COMMENT 'player''s net result of such a bet',
    game_type LowCardinality(Nullable(String)) COMMENT 'type of game',
    game_provider LowCardinality(Nullable(String)) COMMENT 'provider of the game',
    click_id Nullable(String) COMMENT 'ad click',
    campaign LowCardinality(Nullable(String)) COMMENT 'campaign',
    utm_source LowCardinality(Nullable(String)) COMMENT 'UTM source',
    utm_medium LowCardinality(Nullable(String)) COMMENT 'UTM medium',
    utm_campaign LowCardinality(Nullable(String)) COMMENT 'UTM campaign',
    program_id Nullable(String) COMMENT 'scrip''s program',
    idempotency_key Nullable(String) COMMENT 'scrip''s key, else the Idempotency-Key header',
    ip_address Nullable(String) COMMENT 'end user''s address',
    user_agent Nullable(String) COMMENT 'end user''s agent',
    properties JSON(max_dynamic_paths = 32) COMMENT 'what has no column of its own; digits are rounded, dotted keys nested: payload is exact',
    payload String COMMENT 'the event''s exact bytes',
    is_late Bool COMMENT 'received longer after it happened than the lateness setting: changes no session',
    ingest_log Int64 COMMENT 'incarnation of the topic ingest.events: a number from its topic id',
    ingest_partition UInt32 COMMENT 'partition in ingest.events',
    ingest_offset UInt64 COMMENT 'offset in ingest.events'
)
AS SELECT
    event_id, tenant, dialect, event_name, event_time, received_at, stored_at, player_id, device_id,
    (
        SELECT assigned.session_id
        FROM
        (
            SELECT received_at, ingest_log, ingest_partition, ingest_offset, session_id
            FROM assignments_rows FINAL
            WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'sessions')
        ) AS assigned
        WHERE assigned.received_at = row.received_at AND assigned.ingest_log = row.ingest_log
            AND assigned.ingest_partition = row.ingest_partition AND assigned.ingest_offset = row.ingest_offset
    ) AS session_id,
    dedup_key, transaction_id, parent_transaction_id, amount, currency, is_crypto, bet_result, bet_result_amount,
    game_type, game_provider, click_id, campaign, utm_source, utm_medium, utm_campaign, program_id, idempotency_key,
    ip_address, user_agent, properties, payload, is_late, ingest_log, ingest_partition, ingest_offset
FROM events_rows AS row FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1,
    join_algorithm = 'full_sorting_merge,hash'
COMMENT 'A row is an accepted, unique event';
