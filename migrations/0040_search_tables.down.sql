-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Everything here is made from the tables of the application: nothing is lost.

-- Nobody waits long behind a table that is held already.
LOCK TABLE public.comments IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = '100ms';
LOCK TABLE public.issues, public.attachments IN ACCESS EXCLUSIVE MODE;
DROP TRIGGER IF EXISTS search_added ON public.issues;
DROP TRIGGER IF EXISTS search_changed ON public.issues;
DROP TRIGGER IF EXISTS search_removed ON public.issues;
DROP TRIGGER IF EXISTS search_truncated ON public.issues;
DROP TRIGGER IF EXISTS search_added ON public.comments;
DROP TRIGGER IF EXISTS search_changed ON public.comments;
DROP TRIGGER IF EXISTS search_removed ON public.comments;
DROP TRIGGER IF EXISTS search_truncated ON public.comments;
DROP TRIGGER IF EXISTS search_added ON public.attachments;
DROP TRIGGER IF EXISTS search_changed ON public.attachments;
DROP TRIGGER IF EXISTS search_removed ON public.attachments;
DROP TRIGGER IF EXISTS search_truncated ON public.attachments;

DROP VIEW IF EXISTS postern.search_source;

-- The functions of policies/90_search.sql go with the tables that they read.
DO $$
DECLARE
    callee regprocedure;
BEGIN
    FOR callee IN SELECT p.oid::regprocedure FROM pg_proc p
                  WHERE p.pronamespace = 'postern'::regnamespace AND p.prokind = 'f'
                    AND (p.proname = 'search' OR p.proname LIKE 'search\_%') LOOP
        EXECUTE format('DROP FUNCTION %s CASCADE', callee);
    END LOOP;
END
$$;
DROP AGGREGATE IF EXISTS postern.tsvector_concat(tsvector);
DROP TYPE IF EXISTS postern.search_filter, postern.search_words;
DROP TABLE IF EXISTS postern.issue_search, postern.search_pending, postern.search_term, postern.search_setting;

-- The extension goes if it is ours: if it was there before, it is in another schema.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm' AND extnamespace = 'postern'::regnamespace) THEN
        DROP EXTENSION pg_trgm;
    END IF;
END
$$;

-- What 0010 grants on columns goes with what is revoked of the table, and is granted anew.
REVOKE SELECT ON public.issues, public.comments, public.attachments FROM postern_owner;
GRANT SELECT (id, project_id) ON public.issues TO postern_owner;
