DO $$
BEGIN
    IF (SELECT count(*) FROM pg_constraint
        WHERE contype = 'c' AND (conrelid::regclass::text, conname) IN (
            ('users', 'users_role_check'), ('project_members', 'project_members_role_check'), ('sprints', 'sprints_status_check'),
            ('issues', 'issues_status_check'), ('issues', 'issues_priority_check'), ('issues', 'issues_issue_type_check'))) <> 6 THEN
        RAISE EXCEPTION 'a CHECK constraint is missing';
    END IF;
END
$$;
