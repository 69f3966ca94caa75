-- A card is moved on the board.
\set project random_zipfian(1, 8, 1.4)
\set user :project + 60 * random_zipfian(1, 2, 1.4) - 60
\set number random_zipfian(1, 150, 1.6)
\set position random(1, 1000000)
BEGIN;
SELECT set_config('app.user_id', :user, true);
UPDATE issues SET status = 'in_progress', position = :position, version = version + 1 WHERE project_id = :project AND number = :number;
COMMIT;
