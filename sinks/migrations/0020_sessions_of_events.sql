-- session_id of an event stands in its row: a query that asks for it needs no join (docs/decisions/session-of-an-event.md).
-- It comes there by lightweight updates, which want numbers of blocks and of rows within them. sinks/copies.py copies what
-- assignments_rows says of the rows that are there, before the next migration makes the view read it.

ALTER TABLE events_rows ADD COLUMN IF NOT EXISTS session_id Nullable(UUID) COMMENT 'session to which the event belongs, a copy of assignments_rows';
ALTER TABLE events_rows ADD COLUMN IF NOT EXISTS session_version UInt64 CODEC(T64, LZ4) COMMENT 'version of that assignment, plus one; 0: none was copied';
ALTER TABLE events_rows MODIFY SETTING enable_block_number_column = 1;
ALTER TABLE events_rows MODIFY SETTING enable_block_offset_column = 1;
