-- An insert a second into each table makes many small parts. By default five of a size are merged into one; ten here: each
-- row is rewritten less often, which took a third of what inserts and merges took together, and there are hardly more parts
-- in the long run, since ClickHouse merges fewer at a time where there are many (docs/decisions/warehouse.md).

ALTER TABLE events_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE assignments_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE bets_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE sessions_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE attributions_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE duplicates_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE freshness_rows MODIFY SETTING merge_selector_base = 10;
