-- rejections: requests that a gateway refused.

CREATE TABLE rejections_rows
(
    rejection_id UUID COMMENT 'UUIDv7 given by the gateway',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the request came',
    tenant LowCardinality(String) COMMENT 'workspace of the API key',
    dialect LowCardinality(String) COMMENT 'vendor API; empty where it could not be known',
    route LowCardinality(String) COMMENT 'method and path template',
    status UInt16 COMMENT 'HTTP status that was answered',
    errors String COMMENT 'JSON array of {index, field, message}',
    detail String COMMENT 'the answer''s detail',
    body String CODEC(ZSTD(1)) COMMENT 'request body, cut at 16 KiB',
    request_id String COMMENT 'X-Request-Id',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    version UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Milli(stored_at)) COMMENT 'of repeated inserts of a row the highest counts: the first'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, rejection_id)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Refused requests, behind the view rejections';

CREATE VIEW rejections
(
    received_at DateTime64(3, 'UTC') COMMENT 'when the request came',
    tenant LowCardinality(String) COMMENT 'workspace of the API key',
    dialect LowCardinality(String) COMMENT 'vendor API; empty where it could not be known',
    route LowCardinality(String) COMMENT 'method and path template',
    status UInt16 COMMENT 'HTTP status that was answered',
    errors String COMMENT 'JSON array of {index, field, message}',
    detail String COMMENT 'the answer''s detail',
    body String COMMENT 'request body, cut at 16 KiB',
    request_id String COMMENT 'X-Request-Id',
    rejection_id UUID COMMENT 'UUIDv7 given by the gateway',
    stored_at DateTime64(3, 'UTC') COMMENT 'when the row was inserted'
)
AS SELECT received_at, tenant, dialect, route, status, errors, detail, body, request_id, rejection_id, stored_at
FROM rejections_rows FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1
COMMENT 'A row is a request that the gateway refused';
