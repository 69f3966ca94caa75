-- Row-level security on again on one table, with the policies that it has.
--     psql -X -v table=issues -f policies/rollback/table_on.sql
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL lock_timeout = '1s';
UPDATE postern_migration.rollout SET enable = true, force = true WHERE table_name = :'table';
SELECT postern_migration.enable_row_security(:'table');
COMMIT;
