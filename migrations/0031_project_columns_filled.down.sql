-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- The values go with their column; what is forgotten is how far the filling had come.
DELETE FROM postern_migration.batch_position WHERE step IN ('fill comments', 'fill attachments');
