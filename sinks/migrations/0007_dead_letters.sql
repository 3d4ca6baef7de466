-- dead_letters: records that an agent or the sink could not handle, with all that a replay needs. A letter is never
-- deleted; what became of it is recorded beside it.

CREATE TABLE dead_letters_rows
(
    letter_id UUID COMMENT 'UUIDv5 of the stage and the record''s place',
    stage LowCardinality(String) COMMENT 'agent''s name, or sink.<table>',
    topic LowCardinality(String) COMMENT 'where the record was read',
    log Int64 COMMENT 'incarnation of that topic',
    partition UInt32 COMMENT 'its partition',
    offset UInt64 COMMENT 'its offset',
    ingest_log Nullable(Int64) COMMENT 'place of its cause in ingest.events, where known: incarnation',
    ingest_partition Nullable(UInt32) COMMENT 'place of its cause in ingest.events, where known: partition',
    ingest_offset Nullable(UInt64) COMMENT 'place of its cause in ingest.events, where known: offset',
    tenant LowCardinality(Nullable(String)) COMMENT 'workspace, where it could be read',
    dialect LowCardinality(Nullable(String)) COMMENT 'vendor API, where it could be read',
    error String COMMENT 'type and message of the error',
    attempts UInt32 COMMENT 'replays before this letter',
    timestamp DateTime64(3, 'UTC') COMMENT 'timestamp of the record',
    key Nullable(String) COMMENT 'record key, exact bytes',
    payload Nullable(String) CODEC(ZSTD(1)) COMMENT 'record value, exact bytes',
    headers Array(Tuple(key String, value String)) COMMENT 'record headers, exact bytes',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    version UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'of repeated inserts of a row the highest counts: the first'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (timestamp, letter_id)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Records that could not be handled, behind the view dead_letters';

CREATE TABLE letter_fates_rows
(
    letter_id UUID COMMENT 'the dead letter',
    fate LowCardinality(String) COMMENT 'replayed or discarded',
    decided_at DateTime64(3, 'UTC') COMMENT 'when; the latest counts',
    note String COMMENT 'by whom and why'
)
ENGINE = ReplacingMergeTree(decided_at)
ORDER BY letter_id
COMMENT 'What became of dead letters, behind the view dead_letters';

CREATE VIEW dead_letters
(
    letter_id UUID COMMENT 'UUIDv5 of the stage and the record''s place',
    topic LowCardinality(String) COMMENT 'where the record was read',
    log Int64 COMMENT 'incarnation of that topic',
    partition UInt32 COMMENT 'its partition',
    offset UInt64 COMMENT 'its offset',
    ingest_log Nullable(Int64) COMMENT 'place of its cause in ingest.events, where known: incarnation',
    ingest_partition Nullable(UInt32) COMMENT 'place of its cause in ingest.events, where known: partition',
    ingest_offset Nullable(UInt64) COMMENT 'place of its cause in ingest.events, where known: offset',
    stage LowCardinality(String) COMMENT 'agent''s name, or sink.<table>: what could not handle it',
    tenant LowCardinality(Nullable(String)) COMMENT 'workspace, where it could be read',
    dialect LowCardinality(Nullable(String)) COMMENT 'vendor API, where it could be read',
    error String COMMENT 'type and message of the error',
    attempts UInt32 COMMENT 'replays before this letter',
    timestamp DateTime64(3, 'UTC') COMMENT 'timestamp of the record',
    key Nullable(String) COMMENT 'record key, exact bytes',
    payload Nullable(String) COMMENT 'record value, exact bytes',
    headers Array(Tuple(key String, value String)) COMMENT 'record headers, exact bytes',
    fate LowCardinality(String) COMMENT 'waiting, replayed or discarded',
    decided_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when its fate was decided',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was inserted'
)
AS SELECT
    letters.letter_id AS letter_id, topic, log, partition, offset, ingest_log, ingest_partition, ingest_offset, stage,
    tenant, dialect, error, attempts, timestamp, key, payload, headers,
    if(fates.fate = '', 'waiting', fates.fate) AS fate,
    if(fates.fate = '', NULL, fates.decided_at) AS decided_at,
    stored_at
FROM (SELECT * FROM dead_letters_rows FINAL) AS letters
LEFT ANY JOIN (SELECT letter_id, fate, decided_at FROM letter_fates_rows FINAL) AS fates
    ON letters.letter_id = fates.letter_id
SETTINGS do_not_merge_across_partitions_select_final = 1, join_use_nulls = 0
COMMENT 'A row is a record that an agent or the sink could not handle';
