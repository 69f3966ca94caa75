-- The bridge: a policy that shows and allows everything to a role that the application logged in as so far, while tables are enabled one by
-- one and its connections move to tracker_app. A transaction a table.
--     psql -X -v role=OLD -f policies/rollout/bridge_on.sql                      # all tables
--     psql -X -v role=OLD -v table=issues -f policies/rollout/bridge_on.sql
-- The policy, postern_bridge, is all the record there is: pg_policies says which are left. `postern migrate down` drops it with the others.
-- Several roles may have it. A table that can't be locked within a second is passed over: the script then ends with status 3 and is to
-- be run again.
\set ON_ERROR_STOP on
\set bridging true
\ir bridge_check.sql
\set ON_ERROR_STOP off
SET lock_timeout = '1s';
SELECT CASE WHEN p.oid IS NULL THEN format('CREATE POLICY postern_bridge ON public.%I TO %I USING (true) WITH CHECK (true)', c.relname, :'role')
            ELSE format('ALTER POLICY postern_bridge ON public.%I TO %s, %I', c.relname,
                        (SELECT string_agg(quote_ident(pg_get_userbyid(o)), ', ') FROM unnest(p.polroles) o), :'role') END
FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass(format('public.%I', r.table_name))
LEFT JOIN pg_policy p ON p.polrelid = c.oid AND p.polname = 'postern_bridge'
WHERE (:'table' IN ('*', r.table_name)) AND (p.oid IS NULL OR NOT (SELECT oid FROM pg_roles WHERE rolname = :'role') = ANY (p.polroles))
ORDER BY r.position
\gexec
\set ON_ERROR_STOP on
SELECT 1 / (count(*) = 0)::integer AS all_bridged
FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass(format('public.%I', r.table_name))
WHERE (:'table' IN ('*', r.table_name)) AND NOT EXISTS (
    SELECT FROM pg_policy p JOIN pg_roles o ON o.oid = ANY (p.polroles)
    WHERE p.polrelid = c.oid AND p.polname = 'postern_bridge' AND o.rolname = :'role');
