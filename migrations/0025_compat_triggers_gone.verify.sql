DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgname = 'postern_compat')
       AND (SELECT value FROM postern_migration.option WHERE name = 'compat_trigger') <> 'keep' THEN
        RAISE EXCEPTION 'the compat triggers are still there';
    END IF;
END
$$;
