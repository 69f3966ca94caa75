-- postern: transaction=off lock_timeout=5s statement_timeout=0
DROP INDEX CONCURRENTLY IF EXISTS postern.issue_search_tsv_idx;
DROP INDEX CONCURRENTLY IF EXISTS postern.issue_search_title_tsv_idx;
DROP INDEX CONCURRENTLY IF EXISTS postern.issue_search_project_id_idx;
