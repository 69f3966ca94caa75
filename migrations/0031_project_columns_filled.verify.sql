DO $$
BEGIN
    IF EXISTS (SELECT FROM comments WHERE project_id IS NULL) OR EXISTS (SELECT FROM attachments WHERE project_id IS NULL) THEN
        RAISE EXCEPTION 'a comment or an attachment has no project yet';
    END IF;
END
$$;
