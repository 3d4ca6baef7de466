-- attributions: a row per conversion or registration, with the touch that is credited for it. The agent writes one for
-- each link of the conversion (click id, player, device), since each is looked up in a partition of its own; the view
-- shows the strongest that has found a touch. The key is led by the time at which the conversion was received, which
-- never changes; what tells a conversion from any other is its place in ingest.events.

CREATE TABLE attributions_rows
(
    epoch UInt32 COMMENT 'epoch of the attribution agent',
    received_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'when the conversion was received',
    conversion_ingest_log Int64 COMMENT 'the conversion''s place in ingest.events: incarnation',
    conversion_ingest_partition UInt32 COMMENT 'the conversion''s place in ingest.events: partition',
    conversion_ingest_offset UInt64 COMMENT 'the conversion''s place in ingest.events: offset',
    link LowCardinality(String) COMMENT 'by what touches were looked for: click_id, player, device; event where the conversion has none',
    tenant LowCardinality(String) COMMENT 'workspace',
    conversion_id UUID COMMENT 'event_id of the conversion',
    conversion_name LowCardinality(String) COMMENT 'conversion, register, registration or signup',
    converted_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) COMMENT 'event time of the conversion',
    player_id Nullable(String) COMMENT 'player of the conversion',
    device_id Nullable(String) COMMENT 'device of the conversion',
    click_id Nullable(String) COMMENT 'click id that the conversion names',
    conversion_campaign LowCardinality(Nullable(String)) COMMENT 'campaign that the conversion names',
    touch_name LowCardinality(String) COMMENT 'click or impression; empty where there is no touch',
    touch_id Nullable(UUID) COMMENT 'event_id of the touch',
    touched_at Nullable(DateTime64(3, 'UTC')) COMMENT 'event time of the touch',
    campaign LowCardinality(Nullable(String)) COMMENT 'campaign of the touch',
    utm_source LowCardinality(Nullable(String)) COMMENT 'utm source of the touch',
    utm_medium LowCardinality(Nullable(String)) COMMENT 'utm medium of the touch',
    utm_campaign LowCardinality(Nullable(String)) COMMENT 'utm campaign of the touch',
    touch_ingest_log Nullable(Int64) COMMENT 'the touch''s place in ingest.events: incarnation',
    touch_ingest_partition Nullable(UInt32) COMMENT 'the touch''s place in ingest.events: partition',
    touch_ingest_offset Nullable(UInt64) COMMENT 'the touch''s place in ingest.events: offset',
    partition UInt32 COMMENT 'partition of the agent''s input',
    offset UInt64 COMMENT 'offset in the agent''s input of the record that last touched the row',
    ingest_log Int64 COMMENT 'that record''s place in ingest.events: incarnation',
    ingest_partition UInt32 COMMENT 'that record''s place in ingest.events: partition',
    ingest_offset UInt64 COMMENT 'that record''s place in ingest.events: offset',
    version UInt64 COMMENT 'epoch * 2^48 + offset: the highest counts',
    stored_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the row was inserted',
    checksum UInt64 DEFAULT cityHash64(tuple(epoch, received_at, conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset, link, tenant, conversion_id, conversion_name, converted_at, player_id, device_id, click_id, conversion_campaign, touch_name, touch_id, touched_at, campaign, utm_source, utm_medium, utm_campaign, touch_ingest_log, touch_ingest_partition, touch_ingest_offset, partition, offset, ingest_log, ingest_partition, ingest_offset, version)) COMMENT 'of the row as it was inserted, for sluice audit',
    INDEX converted converted_at TYPE minmax GRANULARITY 1,
    INDEX players player_id TYPE bloom_filter GRANULARITY 4
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY (epoch, toYYYYMM(received_at))
ORDER BY (epoch, received_at, conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset, link)
SETTINGS min_age_to_force_merge_seconds = 86400, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Conversions by link as the attribution agent wrote them, behind the view attributions';

CREATE VIEW attributions
(
    tenant LowCardinality(String) COMMENT 'workspace',
    conversion_id UUID COMMENT 'event_id of the conversion',
    conversion_name LowCardinality(String) COMMENT 'conversion, register, registration or signup',
    converted_at DateTime64(3, 'UTC') COMMENT 'event time of the conversion',
    player_id Nullable(String) COMMENT 'player of the conversion',
    device_id Nullable(String) COMMENT 'device of the conversion',
    click_id Nullable(String) COMMENT 'click id that the conversion names',
    conversion_campaign LowCardinality(Nullable(String)) COMMENT 'campaign that the conversion names itself',
    matched_by LowCardinality(String) COMMENT 'what conversion and touch have in common: click_id, player or device; empty while no touch is known',
    touch_name LowCardinality(String) COMMENT 'click or impression; empty while no touch is known',
    touch_id Nullable(UUID) COMMENT 'event_id of the touch that is credited',
    touched_at Nullable(DateTime64(3, 'UTC')) COMMENT 'event time of the touch',
    seconds_after_touch Nullable(Float64) COMMENT 'converted_at - touched_at, in seconds',
    campaign LowCardinality(Nullable(String)) COMMENT 'campaign that is credited: the touch''s',
    utm_source LowCardinality(Nullable(String)) COMMENT 'utm source of the touch',
    utm_medium LowCardinality(Nullable(String)) COMMENT 'utm medium of the touch',
    utm_campaign LowCardinality(Nullable(String)) COMMENT 'utm campaign of the touch',
    received_at DateTime64(3, 'UTC') COMMENT 'when the conversion was received',
    conversion_ingest_log Int64 COMMENT 'the conversion''s place in ingest.events: incarnation',
    conversion_ingest_partition UInt32 COMMENT 'the conversion''s place in ingest.events: partition',
    conversion_ingest_offset UInt64 COMMENT 'the conversion''s place in ingest.events: offset',
    touch_ingest_log Nullable(Int64) COMMENT 'the touch''s place in ingest.events: incarnation',
    touch_ingest_partition Nullable(UInt32) COMMENT 'the touch''s place in ingest.events: partition',
    touch_ingest_offset Nullable(UInt64) COMMENT 'the touch''s place in ingest.events: offset',
    stored_at DateTime64(3, 'UTC') COMMENT 'when this state of the row was inserted'
)
AS SELECT
    tenant, conversion_id, conversion_name, converted_at, player_id, device_id, click_id, conversion_campaign,
    if(touch_name = '', '', link) AS matched_by, touch_name, touch_id, touched_at,
    (toUnixTimestamp64Milli(converted_at) - toUnixTimestamp64Milli(touched_at)) / 1000 AS seconds_after_touch,
    campaign, utm_source, utm_medium, utm_campaign, received_at,
    conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset,
    touch_ingest_log, touch_ingest_partition, touch_ingest_offset, stored_at
FROM attributions_rows FINAL
WHERE epoch = (SELECT max(epoch) FROM agent_epochs WHERE agent = 'attribution')
ORDER BY touch_name = '', indexOf(['click_id', 'player', 'device'], link)
LIMIT 1 BY conversion_ingest_log, conversion_ingest_partition, conversion_ingest_offset
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1
COMMENT 'A row is a conversion or registration, with the touch that is credited for it';
