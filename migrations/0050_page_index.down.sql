-- postern: transaction=off lock_timeout=10s statement_timeout=0 retry=10
CREATE INDEX CONCURRENTLY IF NOT EXISTS issues_project_id_created_at_idx ON issues (project_id, created_at DESC);
DO $$
BEGIN
    IF NOT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('issues_project_id_created_at_idx')), false) THEN
        RAISE EXCEPTION 'the index issues_project_id_created_at_idx is missing or invalid';
    END IF;
END
$$;
DROP INDEX CONCURRENTLY IF EXISTS issues_project_id_created_at_id_idx;
