-- requires: access management
-- A role that reads and nothing else, for the accounts of analysts:
--     CREATE USER anna IDENTIFIED BY '...' DEFAULT ROLE sluice_analyst
-- The embedded ClickHouse has a read-only account of its own and no roles; there this file is skipped.

CREATE ROLE sluice_analyst SETTINGS readonly = 2;

GRANT SELECT ON * TO sluice_analyst;
