DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(wanted, ', ') INTO missing
    FROM unnest(ARRAY['issue_search', 'search_pending', 'search_term', 'search_setting']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = to_regclass('postern.' || wanted) AND c.relowner = 'postern_owner'::regrole);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'search: not there, or not of postern_owner: %', missing;
    END IF;
    SELECT string_agg(t || '.' || g, ', ') INTO missing
    FROM unnest(ARRAY['issues', 'comments', 'attachments']) t,
         unnest(ARRAY['search_added', 'search_changed', 'search_removed', 'search_truncated']) g
    WHERE NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass('public.' || t) AND tgname = g AND tgenabled IN ('O', 'A'));
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'search: no such triggers, or not enabled: %', missing;
    END IF;
END
$$;
