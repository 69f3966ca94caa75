-- Row-level security on projects and issues: members see their projects, administrators see all. Who asks is
-- the transaction's setting app.user_id, put there by the application; without it nothing is seen.
-- The conditions are plain SQL (no function of ours), each subquery is worked out once a statement.
-- tracker_app, the role that the application logs in as, owns nothing, so FORCE would change nothing.

ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;

CREATE POLICY projects_visible ON projects FOR ALL TO tracker_app USING (
    id = ANY (ARRAY(
        SELECT pm.project_id FROM project_members pm
        WHERE pm.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::int)))
    OR (SELECT u.role FROM users u
        WHERE u.id = (SELECT nullif(current_setting('app.user_id', true), '')::int)) = 'admin'
);

CREATE POLICY issues_visible ON issues FOR ALL TO tracker_app USING (
    project_id = ANY (ARRAY(
        SELECT pm.project_id FROM project_members pm
        WHERE pm.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::int)))
    OR (SELECT u.role FROM users u
        WHERE u.id = (SELECT nullif(current_setting('app.user_id', true), '')::int)) = 'admin'
);
