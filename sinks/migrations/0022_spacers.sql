-- events: spacers are left out, rows that the sink puts among events so that FINAL merges less (sinks/spacers.py). Their granules are
-- found by the second column of the key, so that all of it is kept in memory, also where the first alone nearly tells rows apart.

ALTER TABLE events_rows MODIFY SETTING primary_key_ratio_of_unique_prefix_values_to_skip_suffix_columns = 1;

ALTER TABLE events_rows COMMENT COLUMN ingest_log 'incarnation of the topic ingest.events: a number from its topic id; -1: a spacer, no event';

ALTER TABLE events_rows MODIFY COMMENT 'Accepted, unique events as they were inserted, and spacers among them, behind the view events';

CREATE OR REPLACE VIEW events
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
    session_id, dedup_key, transaction_id, parent_transaction_id, amount, currency, is_crypto, bet_result, bet_result_amount,
    game_type, game_provider, click_id, campaign, utm_source, utm_medium, utm_campaign, program_id, idempotency_key,
    ip_address, user_agent, properties, payload, is_late, ingest_log, ingest_partition, ingest_offset
FROM events_rows AS row FINAL
WHERE ingest_log != -1
SETTINGS do_not_merge_across_partitions_select_final = 1, optimize_move_to_prewhere_if_final = 1
COMMENT 'A row is an accepted, unique event';
