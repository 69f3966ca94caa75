DO $$
DECLARE
    missing text;
BEGIN
    SELECT string_agg(wanted, ', ') INTO missing
    FROM unnest(ARRAY['issue_search_project_id_idx', 'issue_search_title_tsv_idx', 'issue_search_tsv_idx']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('postern.' || wanted) AND indisvalid);
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'search: no such indexes, or not valid: %', missing;
    END IF;
END
$$;
