-- An issue's comments with their authors.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
\set number random_zipfian(1, 150, 1.6)
BEGIN;
SELECT set_config('app.user_id', :user, true);
SELECT id, email, name, role, is_active FROM users WHERE id = :user;
SELECT c.id, c.body, c.created_at, u.name FROM comments c JOIN users u ON u.id = c.author_id JOIN issues i ON i.id = c.issue_id WHERE i.project_id = :project AND i.number = :number ORDER BY c.created_at, c.id LIMIT 20;
COMMIT;
