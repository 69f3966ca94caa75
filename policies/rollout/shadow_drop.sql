-- A part of shadow_on.sql and shadow_off.sql. Without CASCADE: nothing goes but the views, at most one for each table.
DO $$
DECLARE
    views text := (SELECT string_agg(c.oid::regclass::text, ', ') FROM pg_class c
                   JOIN postern_migration.rollout r ON r.table_name = c.relname
                   WHERE c.relnamespace = to_regnamespace('postern_shadow') AND c.relkind = 'v');
BEGIN
    IF views IS NOT NULL THEN
        EXECUTE 'DROP VIEW ' || views;
    END IF;
    DROP SCHEMA IF EXISTS postern_shadow;
END
$$;
