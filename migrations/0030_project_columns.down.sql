-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- With the column go the policies that compare it: comments and attachments are left without any, and so, under row-level security,
-- show nothing. Take row-level security off them first, or go down to 0 in one go.
-- Nobody waits long behind a table that is held already.
LOCK TABLE comments IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = '100ms';
LOCK TABLE attachments IN ACCESS EXCLUSIVE MODE;

DROP FUNCTION postern_migration.fill_batch(text, integer);
DROP TRIGGER postern_project ON comments;
DROP TRIGGER postern_project ON attachments;
DROP FUNCTION postern.fill_project_id();
ALTER TABLE comments DROP COLUMN project_id CASCADE;
ALTER TABLE attachments DROP COLUMN project_id CASCADE;
