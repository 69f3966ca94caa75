DO $$
BEGIN
    IF (SELECT count(*) FROM pg_constraint
        WHERE contype = 'c' AND convalidated AND conname IN (
            'users_role_check', 'project_members_role_check', 'sprints_status_check',
            'issues_status_check', 'issues_priority_check', 'issues_issue_type_check')) <> 6 THEN
        RAISE EXCEPTION 'a CHECK constraint is not validated';
    END IF;
END
$$;
