-- postern: transaction=off batch=on lock_timeout=1s statement_timeout=60s retry=10 requires=0030 reversible=yes
-- postern: progress=SELECT (SELECT coalesce(max(id), 0) FROM comments) + (SELECT coalesce(max(id), 0) FROM attachments) - coalesce(sum(last), 0) FROM postern_migration.batch_position WHERE step IN ('fill comments', 'fill attachments')
-- Each row is written once: the table grows by its size until it is vacuumed.
SELECT postern_migration.fill_batch('comments', 2000);
SELECT postern_migration.fill_batch('attachments', 2000);
