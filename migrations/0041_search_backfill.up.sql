-- postern: transaction=off batch=on lock_timeout=5s statement_timeout=60s requires=0040 reversible=yes
-- postern: progress=SELECT count(*) FROM public.issues WHERE id > (SELECT value FROM postern.search_setting WHERE name = 'backfilled_to')
-- Fills postern.issue_search with the issues that were there before its triggers. Goes on where it was interrupted.
SELECT postern.search_backfill(2000);
