DO $$
DECLARE
    missing bigint;
BEGIN
    SELECT count(*) INTO missing
    FROM public.issues i WHERE NOT EXISTS (SELECT FROM postern.issue_search s WHERE s.issue_id = i.id);
    IF missing > 0 THEN
        RAISE EXCEPTION 'search: % issues are not in postern.issue_search', missing;
    END IF;
END
$$;
