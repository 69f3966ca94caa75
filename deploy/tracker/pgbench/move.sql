-- A card is moved on the board, by the project's manager: that is the user of the same number.
\set project random_zipfian(1, 8, 1.4)
\set user :project
\set number random_zipfian(1, 150, 1.6)
\set position random(1, 1000000)
BEGIN;
SELECT set_config('app.user_id', :user, true);
UPDATE issues SET status = 'in_progress', position = :position, version = version + 1 WHERE project_id = :project AND number = :number;
COMMIT;
