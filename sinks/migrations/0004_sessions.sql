-- sessions: a row per session. session_id is made from the first event, so started_at never changes under it and can lead
-- the key. A session that late events join to another, or split, is withdrawn: is_deleted.

CREATE TABLE sessions_rows
(
    epoch UInt32 COMMENT 'epoch of the sessions agent',
    started_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'first event',
    session_id UUID COMMENT 'UUIDv5 of the identity and the first event''s (event_time, event_id)',
    tenant LowCardinality(String) COMMENT 'workspace',
    player_id Nullable(String) COMMENT 'player',
    device_id Nullable(String) COMMENT 'device, where no player is known',
    ended_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'last event',
    end_reason LowCardinality(String) COMMENT 'ended, stopped or idle',
    active_ms Int64 COMMENT 'duration without the time from each session_stop to the event after it, milliseconds',
    gap_ms Int64 COMMENT 'the gap by which the session was cut, milliseconds',
    events UInt64 COMMENT 'events in it',
    event_counts Map(LowCardinality(String), UInt64) COMMENT 'events by name',
    bets UInt64 COMMENT 'bet events',
    stake Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of bet amounts by currency',
    deposits Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of deposits by currency',
    withdrawals Map(LowCardinality(String), Decimal(76, 18)) COMMENT 'sum of withdrawals by currency',
    partition UInt32 COMMENT 'partition of the agent''s input',
    offset UInt64 COMMENT 'offset in the agent''s input of the record that last touched the row',
    ingest_log Int64 COMMENT 'that record''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'that record''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'that record''s place in ingest.events: offset',
    version UInt64 COMMENT 'epoch * 2^48 + offset: the highest counts',
    is_deleted UInt8 COMMENT '1: withdrawn, this session no longer exists',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    checksum UInt64 DEFAULT cityHash64(tuple(epoch, started_at, session_id, tenant, player_id, device_id, ended_at, end_reason, active_ms, gap_ms, events, event_counts, bets, stake, deposits, withdrawals, partition, offset, ingest_log, ingest_partition, ingest_offset, version, is_deleted)) COMMENT 'of the row as it was inserted, for sluice audit',
    INDEX session_ids session_id TYPE bloom_filter GRANULARITY 4,
    INDEX players player_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version, is_deleted)
PARTITION BY (epoch, toYear(started_at))
PRIMARY KEY (epoch, started_at, session_id)
ORDER BY (epoch, started_at, session_id, tenant)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Sessions as the sessions agent wrote them, behind the view sessions';

CREATE VIEW sessions
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
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'sessions')
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1
COMMENT 'A row is a session of a player, or of a device where no player is known';
