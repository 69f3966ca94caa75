-- postern: transaction=off lock_timeout=1s statement_timeout=30s retry=10 requires=0022 reversible=yes
-- Text with CHECK, not enumerations: comparing enumerations is not leakproof, so under row-level security no index would serve them. NOT
-- VALID looks at no row: ACCESS EXCLUSIVE is held for a moment. Each statement replaces what an earlier try may have left.
ALTER TABLE users DROP CONSTRAINT IF EXISTS users_role_check,
    ADD CONSTRAINT users_role_check CHECK (role IN ('user', 'manager', 'admin')) NOT VALID;
ALTER TABLE project_members DROP CONSTRAINT IF EXISTS project_members_role_check,
    ADD CONSTRAINT project_members_role_check CHECK (role IN ('developer', 'manager')) NOT VALID;
ALTER TABLE sprints DROP CONSTRAINT IF EXISTS sprints_status_check,
    ADD CONSTRAINT sprints_status_check CHECK (status IN ('planned', 'active', 'completed')) NOT VALID;
ALTER TABLE issues
    DROP CONSTRAINT IF EXISTS issues_status_check,
    DROP CONSTRAINT IF EXISTS issues_priority_check,
    DROP CONSTRAINT IF EXISTS issues_issue_type_check,
    ADD CONSTRAINT issues_status_check CHECK (status IN ('open', 'in_progress', 'in_review', 'resolved', 'closed')) NOT VALID,
    ADD CONSTRAINT issues_priority_check CHECK (priority IN ('low', 'medium', 'high', 'critical')) NOT VALID,
    ADD CONSTRAINT issues_issue_type_check CHECK (issue_type IN ('bug', 'feature', 'task', 'question')) NOT VALID;
