-- The active sprint's issues by status.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
BEGIN;
SELECT set_config('app.user_id', :user, true);
SELECT id, email, name, role, is_active FROM users WHERE id = :user;
SELECT project_id, user_id, role FROM project_members WHERE project_id = :project AND user_id = :user;
SELECT id AS sprint FROM sprints WHERE project_id = :project AND status = 'active' LIMIT 1 \gset
SELECT i.id, i.number, i.title, i.status, i.priority, i.position, i.version, u.name FROM issues i LEFT JOIN users u ON u.id = i.assignee_id WHERE i.project_id = :project AND i.sprint_id = :sprint ORDER BY i.status, i.position, i.id;
COMMIT;
