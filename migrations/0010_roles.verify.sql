DO $$
BEGIN
    IF to_regrole('postern_owner') IS NULL OR to_regnamespace('postern') IS NULL THEN
        RAISE EXCEPTION 'the role or the schema of the policies is missing';
    END IF;
    IF (SELECT rolcanlogin FROM pg_roles WHERE rolname = 'postern_owner') THEN
        RAISE EXCEPTION 'postern_owner may log in';
    END IF;
    IF has_database_privilege('tracker_app', current_database(), 'TEMP') OR has_schema_privilege('tracker_app', 'public', 'CREATE') THEN
        RAISE EXCEPTION 'tracker_app may create objects';
    END IF;
    IF has_table_privilege('tracker_app', 'public.issues', 'TRUNCATE') THEN
        RAISE EXCEPTION 'tracker_app may TRUNCATE';
    END IF;
    IF has_schema_privilege('tracker_app', 'postern_migration', 'USAGE') THEN
        RAISE EXCEPTION 'tracker_app may look into postern_migration';
    END IF;
END
$$;
