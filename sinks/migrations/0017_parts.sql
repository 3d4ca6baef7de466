-- An insert a second into each table makes small parts, of 10 to 15 files each, and merges from 10 megabytes on make parts
-- of hundreds: making files took up to half of a small insert's processor time. So a part below 10 megabytes is one file,
-- and columns have files of their own from 32 megabytes on (docs/decisions/warehouse.md). Parts that are there stay as they
-- are until they are merged.

ALTER TABLE events_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE events_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE assignments_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE assignments_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE bets_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE bets_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE sessions_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE sessions_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE attributions_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE attributions_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE duplicates_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE duplicates_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE conflicts_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE conflicts_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE rejections_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE rejections_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE dead_letters_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
ALTER TABLE dead_letters_rows MODIFY SETTING min_bytes_for_wide_part = 33554432;

ALTER TABLE freshness_rows MODIFY SETTING min_bytes_for_full_part_storage = 10485760;
