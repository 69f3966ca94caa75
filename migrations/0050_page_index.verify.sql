DO $$
BEGIN
    IF NOT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('issues_project_id_created_at_id_idx')), false) THEN
        RAISE EXCEPTION 'the index issues_project_id_created_at_id_idx is missing or invalid';
    ELSIF to_regclass('issues_project_id_created_at_idx') IS NOT NULL THEN
        RAISE EXCEPTION 'the index issues_project_id_created_at_idx is still there';
    END IF;
END
$$;
