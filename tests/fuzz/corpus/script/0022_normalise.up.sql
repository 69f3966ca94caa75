-- postern: transaction=off batch=on lock_timeout=1s statement_timeout=60s retry=10 requires=0021 reversible=yes
-- postern: progress=SELECT coalesce(sum(rows), 0) FROM postern_migration.bad_value
-- Makes bad values good, 2000 rows a transaction, and keeps the originals in quarantine. It comes before the constraints: once those
-- stand, even NOT VALID, no column of a bad row can be updated any more. Rows are changed behind a cache's back: flush it afterwards.
SELECT postern_migration.normalise_batch('users', 'role', 2000);
SELECT postern_migration.normalise_batch('project_members', 'role', 2000);
SELECT postern_migration.normalise_batch('sprints', 'status', 2000);
SELECT postern_migration.normalise_batch('issues', 'status', 2000);
SELECT postern_migration.normalise_batch('issues', 'priority', 2000);
SELECT postern_migration.normalise_batch('issues', 'issue_type', 2000);
