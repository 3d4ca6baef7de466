-- An insert a second into each table makes many small parts. ClickHouse merges five of a size into one; here ten, so that
-- each row is rewritten less often: a seventh of all processor time that ClickHouse took under load. There are hardly more
-- parts in the long run, since it merges fewer at a time the older and the more they are. Assignments are narrow, and read in
-- the order of their key, part beside part (docs/decisions/warehouse.md).

ALTER TABLE events_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE bets_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE sessions_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE attributions_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE duplicates_rows MODIFY SETTING merge_selector_base = 10;
ALTER TABLE freshness_rows MODIFY SETTING merge_selector_base = 10;
