DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY ARRAY['project_members_user_id_idx', 'projects_owner_id_idx', 'attachments_uploader_id_idx',
                               'comments_project_id_idx', 'attachments_project_id_idx', 'issues_id_project_id_idx'] LOOP
        IF NOT coalesce((SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(one)), false) THEN
            RAISE EXCEPTION 'the index % is missing or invalid', one;
        END IF;
    END LOOP;
END
$$;
