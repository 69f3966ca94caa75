-- postern: transaction=off lock_timeout=1s statement_timeout=30s retry=10
ALTER TABLE attachments DROP CONSTRAINT IF EXISTS attachments_issue_project_fkey;
ALTER TABLE comments DROP CONSTRAINT IF EXISTS comments_issue_project_fkey;
ALTER TABLE attachments DROP CONSTRAINT IF EXISTS attachments_project_id_check;
ALTER TABLE comments DROP CONSTRAINT IF EXISTS comments_project_id_check;
