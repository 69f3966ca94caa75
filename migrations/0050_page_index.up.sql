-- postern: transaction=off lock_timeout=10s statement_timeout=0 retry=10 requires=0032 reversible=yes
-- A page of a project's newest issues in the order that it is shown in, straight from an index. PostgreSQL takes
-- `project_id = 7 AND project_id = ANY (array)`, which the policy makes of every list, for far fewer rows than it is, so it does not mind
-- fetching and sorting all issues of the project; with nothing left to sort the index is the cheapest way by any estimate.
CREATE INDEX CONCURRENTLY IF NOT EXISTS issues_project_id_created_at_id_idx ON issues (project_id, created_at DESC, id DESC);
DO $$
BEGIN
    IF NOT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('issues_project_id_created_at_id_idx')), false) THEN
        RAISE EXCEPTION 'the index issues_project_id_created_at_id_idx is missing or invalid';
    END IF;
END
$$;
-- It serves whatever this one did, so writers don't pay for both.
DROP INDEX CONCURRENTLY IF EXISTS issues_project_id_created_at_idx;
