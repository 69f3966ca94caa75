-- postern: transaction=off lock_timeout=5s statement_timeout=0 requires=0041 reversible=yes
-- Built after the rows are in, and without holding up writers. A build that was interrupted leaves an invalid index: hence the drops.
-- The pending lists of the GIN indexes are kept short, since every search reads them.
SET maintenance_work_mem = '256MB';
DROP INDEX CONCURRENTLY IF EXISTS postern.issue_search_project_id_idx;
CREATE INDEX CONCURRENTLY issue_search_project_id_idx ON postern.issue_search (project_id, issue_id);
DROP INDEX CONCURRENTLY IF EXISTS postern.issue_search_title_tsv_idx;
CREATE INDEX CONCURRENTLY issue_search_title_tsv_idx ON postern.issue_search USING gin (title_tsv) WITH (gin_pending_list_limit = 1024);
DROP INDEX CONCURRENTLY IF EXISTS postern.issue_search_tsv_idx;
CREATE INDEX CONCURRENTLY issue_search_tsv_idx ON postern.issue_search USING gin (tsv) WITH (gin_pending_list_limit = 1024);
RESET maintenance_work_mem;
