-- postern: lock_timeout=1s statement_timeout=600s retry=10 requires=0042 reversible=yes
-- How frequent every word is. To be repeated now and then: SELECT postern.search_count_terms().
SELECT postern.search_count_terms();

-- pg_trgm may have been there before, in any schema.
DO $$
BEGIN
    EXECUTE format(
        'CREATE INDEX search_term_lexeme_trgm_idx ON postern.search_term USING gin (lexeme %I.gin_trgm_ops)',
        (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'));
END
$$;
