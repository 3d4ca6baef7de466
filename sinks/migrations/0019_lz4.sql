-- ClickHouse compresses larger parts with ZSTD(3), which takes twice as long to read: a sum over all bets is mostly that.
-- Bets and sessions are read as a whole by most dashboards, so they get LZ4, and half as much again of disk. Parts are
-- compressed anew when they are merged; ALTER TABLE … REWRITE PARTS does it at once (docs/decisions/warehouse.md).

ALTER TABLE bets_rows MODIFY SETTING default_compression_codec = 'LZ4';
ALTER TABLE sessions_rows MODIFY SETTING default_compression_codec = 'LZ4';
