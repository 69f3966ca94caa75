-- Row-level security off on one table; its policies stay, and do nothing. At once, and for good: "postern migrate up" leaves it off.
--     psql -X -v table=issues -f policies/rollback/table_off.sql
-- Whoever logs in as tracker_app then sees every row of it. Back on: table_on.sql. When it can't get its lock within a second, nothing
-- has changed: run it again.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL lock_timeout = '1s';
UPDATE postern_migration.rollout SET enable = false, force = false WHERE table_name = :'table';
ALTER TABLE public.:"table" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
COMMIT;
