-- The map leads to allowed values, and the report can be read.
DO $$
BEGIN
    IF (SELECT count(*) FROM postern_migration.allowed_value WHERE if_unknown) <> 6 THEN
        RAISE EXCEPTION 'each of the six columns needs one value for what is unknown';
    END IF;
    PERFORM FROM postern_migration.bad_value b WHERE b.new_value IS NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'a bad value has nothing to become';
    END IF;
END
$$;
