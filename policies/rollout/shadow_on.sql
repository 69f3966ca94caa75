-- Views of what row-level security will leave of each table, for reads that are tried before it is enabled; made anew each time.
--     psql -X -f policies/rollout/shadow_on.sql                 # or with -v role=NAME, the application's login
-- postern_shadow.T reads public.T under what T's policies say to that role about SELECT. With postern_shadow in front of the search_path, a
-- statement that names its tables without a schema reads these. Nobody else notices: of the tables, ACCESS SHARE is all that this takes.
--
-- security_invoker, so that whoever reads needs the privileges of before, and policies that are in force already hold too; security_barrier,
-- so that no function of the statement's sees a row sooner than under row-level security. A view has the columns that the role may read.
\set ON_ERROR_STOP on
\if :{?role}
\else
    \set role tracker_app
\endif
BEGIN;
SET LOCAL lock_timeout = '1s';
SET LOCAL client_min_messages = warning;
SET LOCAL postern_rollout.role = :'role';
\ir shadow_drop.sql
DO $$
DECLARE
    app record;
    one record;
    plan jsonb;
    waiting oid[];
BEGIN
    SELECT oid, rolname INTO app FROM pg_roles WHERE rolname = current_setting('postern_rollout.role');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no role "%"', current_setting('postern_rollout.role');
    END IF;
    CREATE SCHEMA postern_shadow;
    EXECUTE format('GRANT USAGE ON SCHEMA postern_shadow TO %I', app.rolname);
    -- A policy that names another table reads what that table's policies leave of it: its shadow, which so has to be there first.
    -- Expressions are told with the path public, and then read with the shadows in front of it.
    SET LOCAL search_path = public;
    plan := (SELECT jsonb_agg(to_jsonb(t)) FROM (
        SELECT c.oid, c.relname AS name,
               (SELECT string_agg(format('%I.%I', c.relname, a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(app.oid, c.oid, a.attnum, 'SELECT')) AS columns,
               coalesce(p.permissive, 'false') || coalesce(' AND ' || p.restrictive, '') AS condition,
               ARRAY(SELECT m[1]::oid FROM regexp_matches(p.trees, ':relid (\d+)', 'g') AS m) AS names,
               (SELECT string_agg(DISTINCT quote_ident(a.attname), ', ') FROM pg_depend d
                JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                WHERE d.classid = 'pg_policy'::regclass AND d.objid = ANY (p.oids) AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                  AND d.refobjsubid > 0 AND NOT has_column_privilege(app.oid, c.oid, a.attnum, 'SELECT')) AS unreadable
        FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass(format('public.%I', r.table_name))
        CROSS JOIN LATERAL (
            SELECT '(' || string_agg(e.text, ' OR ') FILTER (WHERE p.polpermissive) || ')' AS permissive,
                   string_agg(e.text, ' AND ') FILTER (WHERE NOT p.polpermissive) AS restrictive,
                   string_agg(p.polqual::text, ' ') AS trees, array_agg(p.oid) AS oids
            FROM pg_policy p CROSS JOIN LATERAL (SELECT '(' || pg_get_expr(p.polqual, p.polrelid) || ')' AS text) e
            WHERE p.polrelid = c.oid AND p.polcmd IN ('r', '*') AND p.polqual IS NOT NULL
              AND EXISTS (SELECT FROM unnest(p.polroles) AS o (oid) WHERE o.oid = 0 OR pg_has_role(app.oid, o.oid, 'USAGE'))) p) AS t);
    SET LOCAL search_path = postern_shadow, public;
    -- A table that the role may not read has no shadow: such a read is refused before and after.
    waiting := ARRAY(SELECT p.oid FROM jsonb_to_recordset(plan) AS p (oid oid, columns text) WHERE p.columns IS NOT NULL);
    WHILE waiting <> '{}' LOOP
        SELECT * INTO one
        FROM jsonb_to_recordset(plan) AS p (oid oid, name text, columns text, condition text, names oid[], unreadable text)
        WHERE p.oid = ANY (waiting) AND NOT p.names && waiting LIMIT 1;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'the policies of these tables name each other, which PostgreSQL would refuse as infinite recursion: %',
                (SELECT string_agg(c.relname, ', ' ORDER BY c.relname) FROM pg_class c WHERE c.oid = ANY (waiting));
        ELSIF one.unreadable IS NOT NULL THEN
            RAISE EXCEPTION 'policies of "%" compare columns that "%" may not read, and so may no view in its place: %',
                one.name, app.rolname, one.unreadable USING HINT = 'Grant SELECT on them while reads are tried.';
        END IF;
        EXECUTE format('CREATE VIEW postern_shadow.%I WITH (security_invoker, security_barrier) AS SELECT %s FROM public.%I WHERE %s',
                       one.name, one.columns, one.name, one.condition);
        EXECUTE format('GRANT SELECT ON postern_shadow.%I TO %I', one.name, app.rolname);
        waiting := array_remove(waiting, one.oid);
    END LOOP;
END
$$;
COMMIT;
