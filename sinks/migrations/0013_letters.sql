-- What is done about dead letters: who decided a letter's fate, and where each replay stands in its topic. A replay of a
-- letter of dedup stands in ingest.events, where it is no new event: sluice audit leaves it out of what was accepted.

ALTER TABLE letter_fates_rows ADD COLUMN IF NOT EXISTS decided_by LowCardinality(String) COMMENT 'by whom';

ALTER TABLE letter_fates_rows COMMENT COLUMN note 'why';

CREATE TABLE replays_rows
(
    topic LowCardinality(String) COMMENT 'where the record was appended again',
    log Int64 COMMENT 'incarnation of that topic',
    partition UInt32 COMMENT 'its partition',
    offset UInt64 COMMENT 'its offset',
    letter_id UUID COMMENT 'the dead letter whose record it is',
    replayed_at DateTime64(3, 'UTC') COMMENT 'when',
    replayed_by LowCardinality(String) COMMENT 'by whom'
)
ENGINE = ReplacingMergeTree
ORDER BY (topic, log, partition, offset)
COMMENT 'Replays of dead letters, behind the view replays';

CREATE VIEW replays
(
    letter_id UUID COMMENT 'the dead letter whose record was appended again',
    topic LowCardinality(String) COMMENT 'the topic to which it was appended',
    log Int64 COMMENT 'incarnation of that topic',
    partition UInt32 COMMENT 'its partition',
    offset UInt64 COMMENT 'the offset of the replay',
    replayed_at DateTime64(3, 'UTC') COMMENT 'when',
    replayed_by LowCardinality(String) COMMENT 'by whom'
)
AS SELECT letter_id, topic, log, partition, offset, replayed_at, replayed_by
FROM replays_rows FINAL
COMMENT 'A row is a replay of a dead letter';

CREATE OR REPLACE VIEW dead_letters
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
    decided_by LowCardinality(String) COMMENT 'by whom',
    note String COMMENT 'why',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was inserted'
)
AS SELECT
    letters.letter_id AS letter_id, topic, log, partition, offset, ingest_log, ingest_partition, ingest_offset, stage,
    tenant, dialect, error, attempts, timestamp, key, payload, headers,
    if(fates.fate = '', 'waiting', fates.fate) AS fate,
    if(fates.fate = '', NULL, fates.decided_at) AS decided_at,
    decided_by, note, stored_at
FROM (SELECT * FROM dead_letters_rows FINAL) AS letters
LEFT ANY JOIN (SELECT letter_id, fate, decided_at, decided_by, note FROM letter_fates_rows FINAL) AS fates
    ON letters.letter_id = fates.letter_id
SETTINGS do_not_merge_across_partitions_select_final = 1, join_use_nulls = 0
COMMENT 'A row is a record that an agent or the sink could not handle';
