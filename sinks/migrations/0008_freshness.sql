-- freshness: the sink takes a time, notes how far every topic is at that time, and writes the time down once everything up
-- to there has gone through every stage (sinks/freshness.py). So it holds for partitions without traffic too.

CREATE TABLE freshness_rows
(
    stage LowCardinality(String) COMMENT 'table',
    complete_until DateTime64(3, 'UTC') COMMENT 'everything accepted before this time is in the table',
    checked_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when that was found'
)
ENGINE = ReplacingMergeTree(complete_until)
ORDER BY stage
COMMENT 'How far the tables are complete, behind the view freshness';

CREATE VIEW freshness
(
    stage LowCardinality(String) COMMENT 'table',
    complete_until DateTime64(3, 'UTC') COMMENT 'everything accepted before this time is in the table',
    checked_at DateTime64(3, 'UTC') COMMENT 'when that was found',
    lag_seconds Float64 COMMENT 'now - complete_until, in seconds'
)
AS SELECT
    stage, max(row.complete_until) AS complete_until, argMax(row.checked_at, row.complete_until) AS checked_at,
    (toUnixTimestamp64Milli(now64(3)) - toUnixTimestamp64Milli(complete_until)) / 1000 AS lag_seconds
FROM freshness_rows AS row
GROUP BY stage
COMMENT 'A row is a stage: how far its table is complete';
