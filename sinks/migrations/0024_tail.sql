-- What is older than four minutes is merged as a whole, instead of five (migration 0016): the last minutes' bets and sessions, which FINAL
-- merges at each query, are a fifth less, and are rewritten that much more often (docs/decisions/warehouse.md).

ALTER TABLE bets_rows MODIFY SETTING min_age_to_force_merge_seconds = 240;
ALTER TABLE sessions_rows MODIFY SETTING min_age_to_force_merge_seconds = 240;
