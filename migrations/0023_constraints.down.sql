-- postern: transaction=off lock_timeout=1s statement_timeout=30s retry=10
ALTER TABLE users DROP CONSTRAINT IF EXISTS users_role_check;
ALTER TABLE project_members DROP CONSTRAINT IF EXISTS project_members_role_check;
ALTER TABLE sprints DROP CONSTRAINT IF EXISTS sprints_status_check;
ALTER TABLE issues
    DROP CONSTRAINT IF EXISTS issues_status_check,
    DROP CONSTRAINT IF EXISTS issues_priority_check,
    DROP CONSTRAINT IF EXISTS issues_issue_type_check;
