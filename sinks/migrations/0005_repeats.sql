-- duplicates and conflicts: what the dedup agent dropped, one row per coordinate of ingest.events.

CREATE TABLE duplicates_rows
(
    ingest_log Int64 COMMENT 'the repeat''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'the repeat''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'the repeat''s place in ingest.events: offset',
    first_ingest_log Int64 COMMENT 'place of the first sighting in ingest.events: incarnation',
    first_ingest_partition UInt32 COMMENT 'place of the first sighting in ingest.events: partition',
    first_ingest_offset UInt64 COMMENT 'place of the first sighting in ingest.events: offset',
    tenant LowCardinality(String) COMMENT 'workspace',
    dialect LowCardinality(String) COMMENT 'vendor API through which it came',
    dedup_key String COMMENT 'the key that was seen before',
    event_id UUID COMMENT 'event_id of the repeat: the same as the first''s',
    event_name LowCardinality(String) COMMENT 'what happened',
    transaction_id Nullable(String) COMMENT 'transaction',
    idempotency_key Nullable(String) COMMENT 'idempotency key',
    player_id Nullable(String) COMMENT 'player',
    event_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the repeat says that it happened',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the repeat was received',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    version UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'of repeated inserts of a row the highest counts: the first',
    checksum UInt64 DEFAULT cityHash64(tuple(ingest_log, ingest_partition, ingest_offset, first_ingest_log, first_ingest_partition, first_ingest_offset, tenant, dialect, dedup_key, event_id, event_name, transaction_id, idempotency_key, player_id, event_time, received_at)) COMMENT 'of the row as it was inserted, for sluice audit',
    INDEX event_ids event_id TYPE bloom_filter GRANULARITY 4,
    INDEX offsets ingest_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(received_at)
PRIMARY KEY (received_at, ingest_log, ingest_partition, ingest_offset)
ORDER BY (received_at, ingest_log, ingest_partition, ingest_offset, event_id, tenant, dialect)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Dropped duplicates, behind the view duplicates';

CREATE VIEW duplicates
(
    tenant LowCardinality(String) COMMENT 'workspace',
    dialect LowCardinality(String) COMMENT 'vendor API through which it came',
    dedup_key String COMMENT 'the key that was seen before, with the same payload',
    event_id UUID COMMENT 'event_id of the repeat: the same as the first''s',
    event_name LowCardinality(String) COMMENT 'what happened',
    transaction_id Nullable(String) COMMENT 'transaction',
    idempotency_key Nullable(String) COMMENT 'idempotency key',
    player_id Nullable(String) COMMENT 'player',
    event_time DateTime64(3, 'UTC') COMMENT 'when the repeat says that it happened',
    received_at DateTime64(3, 'UTC') COMMENT 'when the repeat was received',
    ingest_log Int64 COMMENT 'the repeat''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'the repeat''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'the repeat''s place in ingest.events: offset',
    first_ingest_log Int64 COMMENT 'place of the first sighting in ingest.events: incarnation',
    first_ingest_partition UInt32 COMMENT 'place of the first sighting in ingest.events: partition',
    first_ingest_offset UInt64 COMMENT 'place of the first sighting in ingest.events: offset',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was inserted'
)
AS SELECT
    tenant, dialect, dedup_key, event_id, event_name, transaction_id, idempotency_key, player_id, event_time, received_at,
    ingest_log, ingest_partition, ingest_offset, first_ingest_log, first_ingest_partition, first_ingest_offset, stored_at
FROM duplicates_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1
COMMENT 'A row is a dropped duplicate: a key seen before, with the same payload';

CREATE TABLE conflicts_rows
(
    ingest_log Int64 COMMENT 'the repeat''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'the repeat''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'the repeat''s place in ingest.events: offset',
    first_ingest_log Int64 COMMENT 'place of the first sighting in ingest.events: incarnation',
    first_ingest_partition UInt32 COMMENT 'place of the first sighting in ingest.events: partition',
    first_ingest_offset UInt64 COMMENT 'place of the first sighting in ingest.events: offset',
    tenant LowCardinality(String) COMMENT 'workspace',
    dialect LowCardinality(String) COMMENT 'vendor API through which it came',
    dedup_key String COMMENT 'the key that was seen before',
    event_id UUID COMMENT 'event_id of the repeat: the same as the first''s',
    event_name LowCardinality(String) COMMENT 'what happened',
    transaction_id Nullable(String) COMMENT 'transaction',
    idempotency_key Nullable(String) COMMENT 'idempotency key',
    player_id Nullable(String) COMMENT 'player',
    event_time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the repeat says that it happened',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the repeat was received',
    payload String CODEC(ZSTD(1)) COMMENT 'the repeat''s exact bytes',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    version UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'of repeated inserts of a row the highest counts: the first',
    checksum UInt64 DEFAULT cityHash64(tuple(ingest_log, ingest_partition, ingest_offset, first_ingest_log, first_ingest_partition, first_ingest_offset, tenant, dialect, dedup_key, event_id, event_name, transaction_id, idempotency_key, player_id, event_time, received_at, payload)) COMMENT 'of the row as it was inserted, for sluice audit',
    INDEX event_ids event_id TYPE bloom_filter GRANULARITY 4,
    INDEX offsets ingest_offset TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(received_at)
PRIMARY KEY (received_at, ingest_log, ingest_partition, ingest_offset)
ORDER BY (received_at, ingest_log, ingest_partition, ingest_offset, event_id, tenant, dialect)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Dropped conflicts, behind the view conflicts';

CREATE VIEW conflicts
(
    tenant LowCardinality(String) COMMENT 'workspace',
    dialect LowCardinality(String) COMMENT 'vendor API through which it came',
    dedup_key String COMMENT 'the key that was seen before, with another payload',
    event_id UUID COMMENT 'event_id of the repeat: the same as the first''s',
    event_name LowCardinality(String) COMMENT 'what happened',
    transaction_id Nullable(String) COMMENT 'transaction',
    idempotency_key Nullable(String) COMMENT 'idempotency key',
    player_id Nullable(String) COMMENT 'player',
    event_time DateTime64(3, 'UTC') COMMENT 'when the repeat says that it happened',
    received_at DateTime64(3, 'UTC') COMMENT 'when the repeat was received',
    ingest_log Int64 COMMENT 'the repeat''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'the repeat''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'the repeat''s place in ingest.events: offset',
    first_ingest_log Int64 COMMENT 'place of the first sighting in ingest.events: incarnation',
    first_ingest_partition UInt32 COMMENT 'place of the first sighting in ingest.events: partition',
    first_ingest_offset UInt64 COMMENT 'place of the first sighting in ingest.events: offset',
    payload String COMMENT 'the repeat''s exact bytes',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was inserted'
)
AS SELECT
    tenant, dialect, dedup_key, event_id, event_name, transaction_id, idempotency_key, player_id, event_time, received_at,
    ingest_log, ingest_partition, ingest_offset, first_ingest_log, first_ingest_partition, first_ingest_offset, payload,
    stored_at
FROM conflicts_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1
COMMENT 'A row is a conflict: a key seen before, with another payload';
