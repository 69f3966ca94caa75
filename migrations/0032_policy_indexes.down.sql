-- postern: transaction=off lock_timeout=10s statement_timeout=0 retry=10
-- project_members_user_id_idx stays: it was there before.
DROP INDEX CONCURRENTLY IF EXISTS issues_id_project_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS attachments_project_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS comments_project_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS attachments_uploader_id_idx;
DROP INDEX CONCURRENTLY IF EXISTS projects_owner_id_idx;
