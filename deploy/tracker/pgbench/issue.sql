-- A single issue with its people, and the number of its comments.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
\set number random_zipfian(1, 150, 1.6)
BEGIN;
SELECT set_config('app.user_id', :user, true);
SELECT id, email, name, role, is_active FROM users WHERE id = :user;
SELECT project_id, user_id, role FROM project_members WHERE project_id = :project AND user_id = :user;
SELECT i.id, i.title, i.description, i.status, i.priority, i.version, p.key, s.name, r.name, a.name FROM issues i JOIN projects p ON p.id = i.project_id LEFT JOIN sprints s ON s.id = i.sprint_id JOIN users r ON r.id = i.reporter_id LEFT JOIN users a ON a.id = i.assignee_id WHERE i.project_id = :project AND i.number = :number;
SELECT count(*) FROM comments c JOIN issues i ON i.id = c.issue_id WHERE i.project_id = :project AND i.number = :number;
COMMIT;
