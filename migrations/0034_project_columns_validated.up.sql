-- postern: transaction=off lock_timeout=1s statement_timeout=0 retry=10 requires=0033 reversible=yes
-- The tables are read under SHARE UPDATE EXCLUSIVE. SET NOT NULL then finds its proof in the constraint and reads nothing.
ALTER TABLE comments VALIDATE CONSTRAINT comments_project_id_check;
ALTER TABLE attachments VALIDATE CONSTRAINT attachments_project_id_check;
ALTER TABLE comments VALIDATE CONSTRAINT comments_issue_project_fkey;
ALTER TABLE attachments VALIDATE CONSTRAINT attachments_issue_project_fkey;
ALTER TABLE comments ALTER COLUMN project_id SET NOT NULL;
ALTER TABLE attachments ALTER COLUMN project_id SET NOT NULL;
ALTER TABLE comments DROP CONSTRAINT IF EXISTS comments_project_id_check;
ALTER TABLE attachments DROP CONSTRAINT IF EXISTS attachments_project_id_check;
ANALYZE comments;
ANALYZE attachments;
