DO $$
BEGIN
    IF (SELECT count(*) FROM pg_attribute WHERE attname = 'project_id' AND attnotnull
          AND attrelid IN ('comments'::regclass, 'attachments'::regclass)) <> 2
       OR EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND NOT convalidated
                  AND conname IN ('comments_issue_project_fkey', 'attachments_issue_project_fkey')) THEN
        RAISE EXCEPTION 'project_id is not proven';
    END IF;
END
$$;
