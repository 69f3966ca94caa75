DO $$
BEGIN
    IF (SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND condeferrable
          AND conname IN ('comments_issue_project_fkey', 'attachments_issue_project_fkey')) <> 2 THEN
        RAISE EXCEPTION 'a foreign key on (issue_id, project_id) is missing';
    END IF;
END
$$;
