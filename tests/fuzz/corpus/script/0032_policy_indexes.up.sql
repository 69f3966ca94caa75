-- postern: transaction=off lock_timeout=10s statement_timeout=0 retry=10 requires=0031 reversible=yes
-- What policies, foreign keys and the audit ask for. CONCURRENTLY: reads and writes go on. Without project_members (user_id, project_id),
-- which the tracker has already, every query would pay for it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS project_members_user_id_idx ON project_members (user_id, project_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS projects_owner_id_idx ON projects (owner_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS attachments_uploader_id_idx ON attachments (uploader_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS comments_project_id_idx ON comments (project_id, issue_id);
CREATE INDEX CONCURRENTLY IF NOT EXISTS attachments_project_id_idx ON attachments (project_id, issue_id);
-- What (issue_id, project_id) of comments and attachments refers to.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS issues_id_project_id_idx ON issues (id, project_id);
