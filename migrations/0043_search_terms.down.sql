-- postern: lock_timeout=1s retry=10
DROP INDEX IF EXISTS postern.search_term_lexeme_trgm_idx;
DELETE FROM postern.search_term;
