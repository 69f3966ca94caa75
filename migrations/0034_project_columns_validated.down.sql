-- postern: transaction=off lock_timeout=1s statement_timeout=30s retry=10
ALTER TABLE comments ALTER COLUMN project_id DROP NOT NULL;
ALTER TABLE attachments ALTER COLUMN project_id DROP NOT NULL;
