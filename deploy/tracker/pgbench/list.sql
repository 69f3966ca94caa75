-- A page of a project's newest issues, and how many there are.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
\set first 25 * (random_zipfian(1, 3, 2.0) - 1)
BEGIN;
SELECT set_config('app.user_id', :user, true);
SELECT id, email, name, role, is_active FROM users WHERE id = :user;
SELECT project_id, user_id, role FROM project_members WHERE project_id = :project AND user_id = :user;
SELECT i.id, i.number, i.title, i.status, i.priority, i.issue_type, i.story_points, i.version, i.created_at, i.updated_at, u.id, u.name FROM issues i LEFT JOIN users u ON u.id = i.assignee_id WHERE i.project_id = :project ORDER BY i.created_at DESC, i.id DESC LIMIT 25 OFFSET :first;
SELECT count(*) FROM issues WHERE project_id = :project;
COMMIT;
