-- postern: transaction=off batch=on lock_timeout=1s statement_timeout=60s retry=10
-- postern: progress=SELECT count(*) FROM postern_migration.quarantine
-- Puts every original back whose row still holds what it was given.
SELECT postern_migration.restore_batch('users', 'role', 2000);
SELECT postern_migration.restore_batch('project_members', 'role', 2000);
SELECT postern_migration.restore_batch('sprints', 'status', 2000);
SELECT postern_migration.restore_batch('issues', 'status', 2000);
SELECT postern_migration.restore_batch('issues', 'priority', 2000);
SELECT postern_migration.restore_batch('issues', 'issue_type', 2000);
