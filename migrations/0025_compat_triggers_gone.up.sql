-- postern: lock_timeout=1s statement_timeout=30s retry=10 requires=0024 reversible=yes
-- From here on a bad value is refused, unless the option compat_trigger is "keep": then SELECT postern_migration.drop_compat_triggers()
-- ends it, once no old version of the application is left.
DO $$
BEGIN
    IF (SELECT value FROM postern_migration.option WHERE name = 'compat_trigger') <> 'keep' THEN
        PERFORM postern_migration.drop_compat_triggers();
    END IF;
END
$$;
