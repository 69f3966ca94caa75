-- A comment is added.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
\set number random_zipfian(1, 150, 1.6)
BEGIN;
SELECT set_config('app.user_id', :user, true);
INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) SELECT id, :user, 'Seen again.', now(), now() FROM issues WHERE project_id = :project AND number = :number;
COMMIT;
