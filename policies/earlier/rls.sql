-- Row-level security that the tracker had of its own, on projects and issues, before the migrations: members see their projects,
-- administrators see all. policies/20_projects.sql and 50_issues.sql take its place; `postern migrate down --to 0` brings it back. Nothing
-- applies this file: tests and bench/ begin with it, where they migrate a database that has it.

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
