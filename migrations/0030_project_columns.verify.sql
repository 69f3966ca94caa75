DO $$
BEGIN
    PERFORM c.project_id, a.project_id FROM comments c, attachments a LIMIT 0;
    IF (SELECT count(*) FROM pg_trigger WHERE tgname = 'postern_project' AND tgenabled = 'O'
          AND tgrelid IN ('comments'::regclass, 'attachments'::regclass)) <> 2 THEN
        RAISE EXCEPTION 'the trigger that fills in the project is missing';
    END IF;
END
$$;
