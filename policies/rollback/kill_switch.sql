-- The kill switch: row-level security off everywhere, the largest table first, a transaction each. Policies and functions stay.
--     psql -X -f policies/rollback/kill_switch.sql
-- A table that can't be locked within a second is passed over: the script then ends with status 3 and is to be run again. It is never a way
-- out to make everybody an administrator instead.
\set ON_ERROR_STOP off
SET lock_timeout = '1s';
SELECT format('UPDATE postern_migration.rollout SET enable = false, force = false WHERE table_name = %L; '
              'ALTER TABLE public.%I NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', table_name, table_name)
FROM postern_migration.rollout ORDER BY position DESC
\gexec
\set ON_ERROR_STOP on
SELECT 1 / (count(*) = 0)::integer AS all_off
FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass('public.' || r.table_name)
WHERE c.relrowsecurity OR c.relforcerowsecurity;
