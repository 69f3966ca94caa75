DO $$
DECLARE
    missing bigint;
BEGIN
    SELECT count(*) INTO missing
    FROM public.issues i WHERE NOT EXISTS (SELECT FROM postern.issue_search s WHERE s.issue_id = i.id);
    IF missing > 0 THEN
        RAISE EXCEPTION 'search: % issues are not in postern.issue_search', missing;
    END IF;
    SELECT count(*) INTO missing
    FROM postern.issue_search s WHERE NOT EXISTS (SELECT FROM public.issues i WHERE i.id = s.issue_id AND i.project_id = s.project_id);
    IF missing > 0 THEN
        RAISE EXCEPTION 'search: % rows of postern.issue_search have no issue, or not its project', missing
            USING HINT = 'Delete them, set backfilled_to to 0 in postern.search_setting, and call postern.search_backfill(2000) until it returns 0.';
    END IF;
END
$$;
