-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Takes row-level security away with the functions that it calls, and gives back every policy, its switches and every privilege that
-- there were before.

-- All tables, the largest first: nobody waits long behind one that is held already.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT c.oid::regclass AS target FROM postern_migration.rollout r
               JOIN pg_class c ON c.oid = to_regclass('public.' || r.table_name) ORDER BY r.position DESC LOOP
        EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', one.target);
        PERFORM set_config('lock_timeout', '100ms', true);
    END LOOP;
END
$$;

-- The files of policies/ have no down of their own: what they made goes here.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT p.polname, p.polrelid::regclass AS target FROM pg_policy p WHERE p.polname LIKE 'postern\_%' LOOP
        EXECUTE format('DROP POLICY %I ON %s', one.polname, one.target);
    END LOOP;
    FOR one IN SELECT t.tgname, t.tgrelid::regclass AS target FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
               WHERE p.pronamespace = 'postern'::regnamespace AND NOT t.tgisinternal LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', one.tgname, one.target);
    END LOOP;
    FOR one IN SELECT e.definition FROM postern_migration.earlier_policy e
               WHERE to_regclass('public.' || e.table_name) IS NOT NULL AND NOT EXISTS (
                   SELECT FROM pg_policy p WHERE p.polrelid = to_regclass('public.' || e.table_name) AND p.polname = e.policy_name) LOOP
        EXECUTE one.definition;
    END LOOP;
    FOR one IN SELECT c.oid::regclass AS target, e.enabled, e.forced
               FROM postern_migration.earlier_row_security e JOIN pg_class c ON c.oid = to_regclass('public.' || e.table_name)
               WHERE (c.relrowsecurity, c.relforcerowsecurity) <> (e.enabled, e.forced) LOOP
        EXECUTE format('ALTER TABLE %s %s ROW LEVEL SECURITY, %s ROW LEVEL SECURITY', one.target,
                       CASE WHEN one.enabled THEN 'ENABLE' ELSE 'DISABLE' END, CASE WHEN one.forced THEN 'FORCE' ELSE 'NO FORCE' END);
    END LOOP;
END
$$;

-- CASCADE: the functions of policies/ are in it, and the views of policies/rollout stand on them.
DROP SCHEMA IF EXISTS postern_shadow CASCADE;
DROP SCHEMA postern CASCADE;

DO $$
DECLARE
    one record;
    what text;
BEGIN
    FOR one IN SELECT c.oid::regclass AS target, string_agg(quote_ident(a.attname), ', ') AS columns
               FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass('public.' || r.table_name)
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped GROUP BY c.oid LOOP
        EXECUTE format('REVOKE ALL ON %s FROM tracker_app, postern_owner', one.target);
        EXECUTE format('REVOKE ALL (%s) ON %s FROM tracker_app, postern_owner', one.columns, one.target);
    END LOOP;
    FOR one IN SELECT g.* FROM postern_migration.earlier_grant g
               WHERE g.object IN ('database', 'schema public') OR to_regclass(g.object) IS NOT NULL LOOP
        what := CASE one.object WHEN 'database' THEN format('DATABASE %I', current_database())
                                WHEN 'schema public' THEN 'SCHEMA public'
                                ELSE 'TABLE ' || one.object END;
        EXECUTE format('GRANT %s%s ON %s TO %s', one.privilege, CASE WHEN one.column_name IS NULL THEN '' ELSE format(' (%I)', one.column_name) END,
                       what, CASE one.grantee WHEN 'PUBLIC' THEN 'PUBLIC' ELSE quote_ident(one.grantee) END);
    END LOOP;
END
$$;

DROP FUNCTION postern_migration.enable_row_security(text);
DROP TABLE postern_migration.batch_position;
DROP TABLE postern_migration.rollout;
DROP TABLE postern_migration.option;
DROP TABLE postern_migration.earlier_policy;
DROP TABLE postern_migration.earlier_row_security;
DROP TABLE postern_migration.earlier_grant;

-- Roles belong to the whole server: another database may be using this one still.
ALTER DEFAULT PRIVILEGES FOR ROLE postern_owner GRANT EXECUTE ON FUNCTIONS TO PUBLIC;
REVOKE USAGE ON SCHEMA public FROM postern_owner;
DO $$
BEGIN
    DROP ROLE postern_owner;
EXCEPTION WHEN dependent_objects_still_exist THEN
    RAISE NOTICE 'the role postern_owner stays: another database uses it';
END
$$;
