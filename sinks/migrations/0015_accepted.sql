-- data_quality: an accepted event counts once. What was written past ingest.events and could not be read has no place there:
-- it was never accepted, and is a dead letter only. An event with several letters (of two stages, or of its replay) was
-- accepted once, in the hour of the first. sluice audit counts the same.

CREATE OR REPLACE VIEW data_quality
(
    hour DateTime('UTC') COMMENT 'UTC hour in which the events or requests were received',
    tenant LowCardinality(String) COMMENT 'workspace; empty where unknown',
    dialect LowCardinality(String) COMMENT 'vendor API; empty where unknown',
    accepted UInt64 COMMENT 'events answered with success: stored, duplicates, conflicts, and dead letters in their place',
    stored UInt64 COMMENT 'rows of events',
    duplicates UInt64 COMMENT 'rows of duplicates',
    conflicts UInt64 COMMENT 'rows of conflicts',
    rejected UInt64 COMMENT 'rows of rejections',
    dead_letters UInt64 COMMENT 'rows of dead_letters, of every stage, by the record''s timestamp',
    late_events UInt64 COMMENT 'stored events received longer after they happened than the lateness setting',
    orphaned_settlements UInt64 COMMENT 'stored wins and losses whose bet is not known',
    stored_median_seconds Nullable(Float64) COMMENT 'median of received_at to stored_at, in seconds',
    stored_p99_seconds Nullable(Float64) COMMENT '99th percentile of received_at to stored_at, in seconds'
)
AS SELECT
    hour, tenant, dialect, stored + duplicates + conflicts + sum(a_kept_out) AS accepted,
    sum(a_stored) AS stored, sum(a_duplicates) AS duplicates, sum(a_conflicts) AS conflicts, sum(a_rejected) AS rejected,
    sum(a_letters) AS dead_letters, sum(a_late) AS late_events, sum(a_orphaned) AS orphaned_settlements,
    max(a_median) / 1000 AS stored_median_seconds, max(a_p99) / 1000 AS stored_p99_seconds
FROM
(
    SELECT
        toStartOfHour(received_at) AS hour, tenant, dialect,
        count() AS a_stored, 0 AS a_duplicates, 0 AS a_conflicts, 0 AS a_rejected, 0 AS a_letters, 0 AS a_kept_out,
        countIf(is_late) AS a_late,
        countIf(
            event_name IN ('win', 'loss') AND amount IS NOT NULL
            AND (tenant, ifNull(parent_transaction_id, '')) IN (SELECT tenant, bet_id FROM bets WHERE status = 'orphaned')
        ) AS a_orphaned,
        quantilesExactWeighted(0.5, 0.99)(toUnixTimestamp64Milli(stored_at) - toUnixTimestamp64Milli(received_at), 1) AS delays,
        toNullable(delays[1]) AS a_median, toNullable(delays[2]) AS a_p99
    FROM events
    GROUP BY hour, tenant, dialect
    UNION ALL
    SELECT toStartOfHour(received_at) AS hour, tenant, dialect, 0, count(), 0, 0, 0, 0, 0, 0, [], NULL, NULL
    FROM duplicates
    GROUP BY hour, tenant, dialect
    UNION ALL
    SELECT toStartOfHour(received_at) AS hour, tenant, dialect, 0, 0, count(), 0, 0, 0, 0, 0, [], NULL, NULL
    FROM conflicts
    GROUP BY hour, tenant, dialect
    UNION ALL
    SELECT toStartOfHour(received_at) AS hour, tenant, dialect, 0, 0, 0, count(), 0, 0, 0, 0, [], NULL, NULL
    FROM rejections
    GROUP BY hour, tenant, dialect
    UNION ALL
    SELECT
        toStartOfHour(timestamp) AS hour, ifNull(letter.tenant, '') AS tenant, ifNull(letter.dialect, '') AS dialect,
        0, 0, 0, 0, count(), 0, 0, 0, [], NULL, NULL
    FROM dead_letters AS letter
    GROUP BY hour, tenant, dialect
    UNION ALL
    SELECT
        toStartOfHour(first.1) AS hour, first.2 AS tenant, first.3 AS dialect, 0, 0, 0, 0, 0, count(), 0, 0, [], NULL, NULL
    FROM
    (
        SELECT min((timestamp, ifNull(letter.tenant, ''), ifNull(letter.dialect, ''))) AS first
        FROM dead_letters AS letter
        WHERE stage IN ('dedup', 'sink.events', 'sink.duplicates', 'sink.conflicts') AND ingest_offset IS NOT NULL
            AND (ingest_log, ingest_partition, ingest_offset) NOT IN (
                SELECT ingest_log, ingest_partition, ingest_offset FROM events
                WHERE ingest_offset IN (SELECT ingest_offset FROM dead_letters WHERE ingest_offset IS NOT NULL)
                UNION ALL
                SELECT ingest_log, ingest_partition, ingest_offset FROM duplicates
                WHERE ingest_offset IN (SELECT ingest_offset FROM dead_letters WHERE ingest_offset IS NOT NULL)
                UNION ALL
                SELECT ingest_log, ingest_partition, ingest_offset FROM conflicts
                WHERE ingest_offset IN (SELECT ingest_offset FROM dead_letters WHERE ingest_offset IS NOT NULL)
            )
        GROUP BY ingest_log, ingest_partition, ingest_offset
    )
    GROUP BY hour, tenant, dialect
)
GROUP BY hour, tenant, dialect
COMMENT 'A row is an hour, tenant and dialect';
