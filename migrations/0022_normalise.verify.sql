DO $$
DECLARE
    one record;
BEGIN
    SELECT * INTO one FROM postern_migration.bad_value LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '%.% still holds "%" in % rows, for instance %', one.table_name, one.column_name, one.value, one.rows, one.examples;
    END IF;
END
$$;
