-- The numbers of a project's dashboard.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
BEGIN;
SELECT set_config('app.user_id', :user, true);
SELECT id, email, name, role, is_active FROM users WHERE id = :user;
SELECT project_id, user_id, role FROM project_members WHERE project_id = :project AND user_id = :user;
SELECT status, count(*) FROM issues WHERE project_id = :project GROUP BY status;
SELECT priority, count(*) FROM issues WHERE project_id = :project AND status IN ('open', 'in_progress', 'in_review') GROUP BY priority;
COMMIT;
