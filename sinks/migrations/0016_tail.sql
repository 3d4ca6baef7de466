-- bets and sessions are restated minutes after they were written, and FINAL merges wherever parts overlap. So what is older
-- than five minutes is merged up to parts of a gigabyte, whatever their sizes: what is left to FINAL is the last minutes,
-- and the seam of two such parts. The tail is rewritten so every five minutes, 100 megabytes a minute on average at most
-- (docs/decisions/warehouse.md).

ALTER TABLE bets_rows MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1073741824;
ALTER TABLE bets_rows MODIFY SETTING min_age_to_force_merge_seconds = 300;
ALTER TABLE bets_rows MODIFY SETTING min_age_to_force_merge_on_partition_only = 0;

ALTER TABLE sessions_rows MODIFY SETTING max_bytes_to_merge_at_max_space_in_pool = 1073741824;
ALTER TABLE sessions_rows MODIFY SETTING min_age_to_force_merge_seconds = 300;
ALTER TABLE sessions_rows MODIFY SETTING min_age_to_force_merge_on_partition_only = 0;
