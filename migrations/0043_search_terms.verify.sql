DO $$
BEGIN
    IF to_regclass('postern.search_term_lexeme_trgm_idx') IS NULL THEN
        RAISE EXCEPTION 'search: postern.search_term_lexeme_trgm_idx is not there';
    END IF;
    IF EXISTS (SELECT FROM postern.issue_search WHERE title_tsv <> '') AND NOT EXISTS (SELECT FROM postern.search_term) THEN
        RAISE EXCEPTION 'search: postern.search_term is empty: SELECT postern.search_count_terms()';
    END IF;
END
$$;
