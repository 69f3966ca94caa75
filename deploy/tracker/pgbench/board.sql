-- The active sprint's issues by status.
\set project random_zipfian(1, 12, 1.1)
\set user :project + 60 * random_zipfian(1, 3, 1.1) - 60
BEGIN;
SELECT set_config('app.user_id', :user, true);
SELECT id, email, name, role, is_active FROM users WHERE id = :user;
SELECT project_id, user_id, role FROM project_members WHERE project_id = :project AND user_id = :user;
SELECT i.id, i.number, i.title, i.status, i.priority, i.position, i.version, u.name FROM issues i JOIN sprints s ON s.id = i.sprint_id LEFT JOIN users u ON u.id = i.assignee_id WHERE i.project_id = :project AND s.status = 'active' ORDER BY i.status, i.position, i.id;
COMMIT;
