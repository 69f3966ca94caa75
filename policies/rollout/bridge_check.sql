-- A part of bridge_on.sql and bridge_off.sql: refuses what would open the application's own role, or bridge nothing.
\if :{?role}
\else
    \set role ''
\endif
\if :{?table}
\else
    \set table '*'
\endif
SELECT set_config('postern_rollout.role', :'role', false) AS role, set_config('postern_rollout.table', :'table', false) AS "table",
       set_config('postern_rollout.bridging', :'bridging', false) AS bridging
\gset checked_
DO $$
DECLARE
    old record;
    on_table text := nullif(current_setting('postern_rollout.table'), '*');
    hindering text;
BEGIN
    SELECT oid, rolname, rolsuper OR rolbypassrls AS bypasses INTO old FROM pg_roles WHERE rolname = current_setting('postern_rollout.role');
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no role "%": say -v role=NAME, which the application logged in as so far', current_setting('postern_rollout.role');
    ELSIF on_table IS NOT NULL AND NOT EXISTS (SELECT FROM postern_migration.rollout WHERE table_name = on_table) THEN
        RAISE EXCEPTION 'there is no table "%" in postern_migration.rollout', on_table;
    ELSIF NOT current_setting('postern_rollout.bridging')::boolean THEN
        RETURN;
    ELSIF pg_has_role('tracker_app', old.oid, 'MEMBER') THEN
        RAISE EXCEPTION 'tracker_app is, or is a member of, "%": a bridge would open everything to it', old.rolname;
    ELSIF old.bypasses THEN
        RAISE EXCEPTION '"%" is past row-level security already, and needs no bridge', old.rolname;
    END IF;
    -- Restrictive policies hold beside the bridge: it would lead nowhere.
    SELECT string_agg(format('%I on %s', p.polname, p.polrelid::regclass), ', ') INTO hindering
    FROM postern_migration.rollout r JOIN pg_policy p ON p.polrelid = to_regclass(format('public.%I', r.table_name))
    WHERE NOT p.polpermissive AND (on_table IS NULL OR r.table_name = on_table)
      AND EXISTS (SELECT FROM unnest(p.polroles) AS o (oid) WHERE o.oid = 0 OR pg_has_role(old.oid, o.oid, 'USAGE'));
    IF hindering IS NOT NULL THEN
        RAISE EXCEPTION 'restrictive policies hold for "%" too, and a bridge does not lift them: %', old.rolname, hindering
            USING HINT = 'Is it a member of tracker_app?';
    END IF;
END
$$;
