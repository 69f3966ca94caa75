-- postern: lock_timeout=1s retry=10
-- The rows stay for as long as their table does: triggers keep them true. The next up looks through all of them.
UPDATE postern.search_setting SET value = 0 WHERE name = 'backfilled_to';
