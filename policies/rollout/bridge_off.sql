-- Takes the bridge from a role again, from the last table to the first: where a table is enabled, the role then sees nothing of it.
--     psql -X -v role=OLD -v table=comments -f policies/rollout/bridge_off.sql
--     psql -X -v role=OLD -f policies/rollout/bridge_off.sql                     # all tables
-- A transaction a table. One that can't be locked within a second is passed over: the script then ends with status 3 and is to be run again.
\set ON_ERROR_STOP on
\set bridging false
\ir bridge_check.sql
\set ON_ERROR_STOP off
SET lock_timeout = '1s';
SELECT CASE WHEN cardinality(p.polroles) = 1 THEN format('DROP POLICY postern_bridge ON public.%I', c.relname)
            ELSE format('ALTER POLICY postern_bridge ON public.%I TO %s', c.relname,
                        (SELECT string_agg(quote_ident(pg_get_userbyid(left_over)), ', ') FROM unnest(p.polroles) left_over WHERE left_over <> o.oid)) END
FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass(format('public.%I', r.table_name))
JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'postern_bridge'
JOIN pg_roles o ON o.rolname = :'role' AND o.oid = ANY (p.polroles)
WHERE :'table' IN ('*', r.table_name) ORDER BY r.position DESC
\gexec
\set ON_ERROR_STOP on
SELECT 1 / (count(*) = 0)::integer AS all_dropped
FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass(format('public.%I', r.table_name))
JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'postern_bridge'
JOIN pg_roles o ON o.rolname = :'role' AND o.oid = ANY (p.polroles)
WHERE :'table' IN ('*', r.table_name);
