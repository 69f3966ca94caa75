-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Row-level security on projects, as far as postern_migration.rollout says: ENABLE and FORCE take ACCESS EXCLUSIVE for a moment. A file a
-- table, so that each is a transaction of its own; the smallest table comes first.
SELECT postern_migration.enable_row_security('projects');
