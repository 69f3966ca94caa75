-- postern: lock_timeout=1s statement_timeout=30s retry=10 requires=0010 reversible=yes
-- Full-text search: one row an issue, with everything that is searched and everything that is filtered by.
--
-- The application has no privilege on these tables: it searches by postern.search() alone (policies/90_search.sql). From here on
-- triggers keep them current; what was there before is filled in by 0041. CREATE TRIGGER waits for writers of its table, and
-- holds them up for a moment only: hence lock_timeout and retry.

CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA postern;

-- The weights in tsv say where a word stands: A title, B description, C comments, D attachments' names.
-- Rows are kept narrow (tsv out of line, uncompressed), since a search visits many rows and ranks few of them. No column that changes
-- often is indexed, and pages have room to spare: a change of status is a HOT update and leaves the GIN indexes alone.
CREATE TABLE postern.issue_search (
    issue_id    integer PRIMARY KEY,
    project_id  integer NOT NULL,
    created_at  timestamptz NOT NULL,
    assignee_id integer,
    sprint_id   integer,
    status      text NOT NULL,
    priority    text NOT NULL,
    issue_type  text NOT NULL,
    title_tsv   tsvector NOT NULL,
    tsv         tsvector NOT NULL
) WITH (fillfactor = 85, toast_tuple_target = 128, autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE postern.issue_search ALTER title_tsv SET STORAGE PLAIN;
ALTER TABLE postern.issue_search ALTER tsv SET STORAGE EXTERNAL;
ALTER TABLE postern.issue_search ALTER tsv SET STATISTICS 500;

-- Comments and attachments that are not yet in issue_search.tsv: a comment costs its own words, not its issue's. Every search looks
-- in here too; postern.search_fold() empties it.
CREATE TABLE postern.search_pending (
    issue_id integer NOT NULL,
    tsv      tsvector NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
CREATE INDEX search_pending_issue_id_idx ON postern.search_pending (issue_id);

-- How many issues have a word, about. Never shown to anybody: a suggestion is checked against what its reader may see.
CREATE TABLE postern.search_term (
    lexeme text COLLATE "C" PRIMARY KEY,
    issues integer NOT NULL,
    titles integer NOT NULL
);

CREATE TABLE postern.search_setting (
    name    text PRIMARY KEY,
    value   double precision NOT NULL CHECK (value >= 0),
    meaning text NOT NULL,
    CHECK (name NOT LIKE 'weight\_%' OR value <= 1)
);
INSERT INTO postern.search_setting VALUES
    ('weight_title', 1.0, 'weight of a word in an issue''s title'),
    ('weight_description', 0.4, 'weight of a word in its description'),
    ('weight_comment', 0.2, 'weight of a word in a comment'),
    ('weight_attachment', 0.1, 'weight of a word in an attachment''s file name'),
    ('candidates', 500, 'how many matches are ranked at most; the total is exact below it'),
    ('terms', 16, 'how many words of a long query are looked for, the rarest first'),
    ('backfilled_to', 0, 'kept by postern.search_backfill: the last issue that it has been through'),
    ('budget_ms', 200, 'after so many milliseconds nothing more is started: what was found is given, newest first');

-- The words of texts. They are cut, so that no text of any length makes its own INSERT fail (a tsvector ends at 1 MB). The leading stop
-- words keep phrases from matching across the seam of two texts. Without SET, so that PostgreSQL can inline them.
CREATE FUNCTION postern.search_title_words(title text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.to_tsvector('pg_catalog.english', pg_catalog.left(title, 1000))
$$;
CREATE FUNCTION postern.search_description_words(description text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.to_tsvector('pg_catalog.english', 'the the the ' OPERATOR(pg_catalog.||) pg_catalog.left(description, 100000))
$$;
CREATE FUNCTION postern.search_comment_words(body text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.setweight(
        pg_catalog.to_tsvector('pg_catalog.english', 'the the the ' OPERATOR(pg_catalog.||) pg_catalog.left(body, 300000)), 'C')
$$;
CREATE FUNCTION postern.search_file_words(filename text) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.setweight(
        pg_catalog.to_tsvector('pg_catalog.english', 'the the the ' OPERATOR(pg_catalog.||) pg_catalog.left(filename, 100000)), 'D')
$$;
-- A file's name as a whole, and its parts.
CREATE FUNCTION postern.search_file_text(filename text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.concat_ws(' the ', pg_catalog.left(filename, 500), pg_catalog.translate(pg_catalog.left(filename, 500), './_-', '    '))
$$;

-- What every row of issue_search is to hold. The newest comments come first, should they be too many.
CREATE VIEW postern.search_source WITH (security_invoker = true) AS
SELECT i.id AS issue_id, i.project_id, i.created_at, i.assignee_id, i.sprint_id, i.status, i.priority, i.issue_type,
       postern.search_title_words(i.title) AS title_tsv,
       setweight(postern.search_title_words(i.title), 'A')
           || setweight(postern.search_description_words(coalesce(i.description, '')), 'B')
           || coalesce((SELECT postern.search_comment_words(string_agg(left(c.body, 10000), ' the the the ' ORDER BY c.id DESC))
                        FROM public.comments c WHERE c.issue_id = i.id), '')
           || coalesce((SELECT postern.search_file_words(string_agg(postern.search_file_text(a.filename), ' the the the ' ORDER BY a.id DESC))
                        FROM public.attachments a WHERE a.issue_id = i.id), '') AS tsv
FROM public.issues i;

CREATE AGGREGATE postern.tsvector_concat(tsvector) (sfunc = pg_catalog.tsvector_concat, stype = tsvector, initcond = '');

-- Whatever reads the application's tables below sets row_security = on: its owner's policies pass no row over, but where the session has it
-- off, PostgreSQL would refuse to use them.

-- Makes issues' rows anew. The rows are locked first and the texts read in a later statement, with what others have committed
-- meanwhile. Pending words go before the comments are read: one that comes in between is found twice for a while, never missed.
CREATE FUNCTION postern.search_refresh(ids integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    INSERT INTO postern.issue_search
    SELECT i.id, i.project_id, i.created_at, i.assignee_id, i.sprint_id, i.status, i.priority, i.issue_type, '', ''
    FROM public.issues i
    WHERE i.id = ANY (ids) AND NOT EXISTS (SELECT FROM postern.issue_search s WHERE s.issue_id = i.id)
    ON CONFLICT DO NOTHING;
    PERFORM FROM postern.issue_search s WHERE s.issue_id = ANY (ids) ORDER BY s.issue_id FOR UPDATE;
    DELETE FROM postern.search_pending p WHERE p.issue_id = ANY (ids);
    UPDATE postern.issue_search s
    SET project_id = n.project_id, created_at = n.created_at, assignee_id = n.assignee_id, sprint_id = n.sprint_id,
        status = n.status, priority = n.priority, issue_type = n.issue_type, title_tsv = n.title_tsv, tsv = n.tsv
    FROM postern.search_source n
    WHERE n.issue_id = s.issue_id AND n.issue_id = ANY (ids);
END
$$;

-- Up to `size` issues from before the triggers were there, in the order of their ids; returns how many were looked at, 0 at the end. Rows
-- that a trigger has made meanwhile are newer than what is read here, and stay. At the end, rows go whose issue was deleted while a batch
-- was reading it: its trigger found nothing to remove.
CREATE FUNCTION postern.search_backfill(size integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on SET client_min_messages = warning AS $$
DECLARE
    done integer;
    last integer;
BEGIN
    SELECT value INTO last FROM postern.search_setting WHERE name = 'backfilled_to' FOR UPDATE;
    WITH batch AS MATERIALIZED (
        SELECT i.id FROM public.issues i WHERE i.id > last ORDER BY i.id LIMIT size
    ), made AS (
        INSERT INTO postern.issue_search
        SELECT n.* FROM postern.search_source n WHERE n.issue_id = ANY (ARRAY(SELECT b.id FROM batch b))
        ON CONFLICT DO NOTHING
    )
    SELECT count(*), max(b.id) INTO done, last FROM batch b;
    UPDATE postern.search_setting SET value = last WHERE name = 'backfilled_to' AND done > 0;
    IF done = 0 THEN
        DELETE FROM postern.issue_search s WHERE NOT EXISTS (SELECT FROM public.issues i WHERE i.id = s.issue_id);
    END IF;
    RETURN done;
END
$$;

-- Counts words: in all titles, and in a sample of `sample` issues' other texts. Its result only chooses between ways of searching,
-- weighs words and suggests them, so it may be days old.
CREATE FUNCTION postern.search_count_terms(sample integer DEFAULT 50000) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    issues double precision;
    share double precision;
    counted integer;
BEGIN
    ANALYZE postern.issue_search;
    SELECT count(*) INTO issues FROM postern.issue_search;
    share := least(1, sample / greatest(issues, 1));
    DELETE FROM postern.search_term;
    INSERT INTO postern.search_term
    SELECT word, greatest(max(text_issues), max(title_issues)), max(title_issues)
    FROM (SELECT word, ceil(ndoc / share)::integer AS text_issues, 0 AS title_issues
          FROM ts_stat(format('SELECT tsv FROM postern.issue_search TABLESAMPLE SYSTEM (%s) REPEATABLE (1)', share * 100))
          UNION ALL
          SELECT word, 0, ndoc FROM ts_stat('SELECT title_tsv FROM postern.issue_search')) AS counts
    WHERE length(word) <= 40
    GROUP BY word;
    GET DIAGNOSTICS counted = ROW_COUNT;
    ANALYZE postern.search_term;
    RETURN counted;
END
$$;

CREATE FUNCTION postern.search_issues_added() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    INSERT INTO postern.issue_search
    SELECT n.id, n.project_id, n.created_at, n.assignee_id, n.sprint_id, n.status, n.priority, n.issue_type,
           postern.search_title_words(n.title),
           setweight(postern.search_title_words(n.title), 'A')
               || setweight(postern.search_description_words(coalesce(n.description, '')), 'B')
    FROM added n
    -- A row that an issue of the same id left behind, as where triggers were off.
    ON CONFLICT (issue_id) DO UPDATE
    SET project_id = excluded.project_id, created_at = excluded.created_at, assignee_id = excluded.assignee_id,
        sprint_id = excluded.sprint_id, status = excluded.status, priority = excluded.priority, issue_type = excluded.issue_type,
        title_tsv = excluded.title_tsv, tsv = excluded.tsv;
    RETURN NULL;
END
$$;

CREATE FUNCTION postern.search_issue_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
    IF OLD.id <> NEW.id THEN
        DELETE FROM postern.issue_search WHERE issue_id = OLD.id;
    ELSIF OLD.title IS NOT DISTINCT FROM NEW.title AND OLD.description IS NOT DISTINCT FROM NEW.description THEN
        UPDATE postern.issue_search
        SET project_id = NEW.project_id, created_at = NEW.created_at, assignee_id = NEW.assignee_id, sprint_id = NEW.sprint_id,
            status = NEW.status, priority = NEW.priority, issue_type = NEW.issue_type
        WHERE issue_id = NEW.id;
        IF FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM postern.search_refresh(ARRAY[NEW.id]);
    RETURN NULL;
END
$$;

CREATE FUNCTION postern.search_issues_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM postern.issue_search s USING removed r WHERE s.issue_id = r.id;
    DELETE FROM postern.search_pending p USING removed r WHERE p.issue_id = r.id;
    RETURN NULL;
END
$$;

CREATE FUNCTION postern.search_comments_added() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    INSERT INTO postern.search_pending
    SELECT n.issue_id, postern.search_comment_words(left(n.body, 10000)) FROM added n;
    RETURN NULL;
END
$$;

CREATE FUNCTION postern.search_attachments_added() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    INSERT INTO postern.search_pending
    SELECT n.issue_id, postern.search_file_words(postern.search_file_text(n.filename)) FROM added n;
    RETURN NULL;
END
$$;

-- Of a comment or an attachment: edited, or moved to another issue.
CREATE FUNCTION postern.search_part_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
    PERFORM postern.search_refresh(ARRAY[least(OLD.issue_id, NEW.issue_id), greatest(OLD.issue_id, NEW.issue_id)]);
    RETURN NULL;
END
$$;

-- An issue that is being deleted takes its parts with it, and is not there any more: then there is nothing to do.
CREATE FUNCTION postern.search_parts_removed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
    ids integer[] := ARRAY(SELECT DISTINCT r.issue_id FROM removed r JOIN public.issues i ON i.id = r.issue_id);
BEGIN
    IF ids <> '{}' THEN
        PERFORM postern.search_refresh(ids);
    END IF;
    RETURN NULL;
END
$$;

-- TRUNCATE of any of the three tables. What is left is made anew, in one go: nobody truncates these by accident.
CREATE FUNCTION postern.search_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
    DELETE FROM postern.issue_search s WHERE NOT EXISTS (SELECT FROM public.issues i WHERE i.id = s.issue_id);
    DELETE FROM postern.search_pending;
    PERFORM postern.search_refresh(ARRAY(SELECT id FROM public.issues));
    RETURN NULL;
END
$$;

DO $$
DECLARE
    one regclass;
    callee regprocedure;
BEGIN
    FOREACH one IN ARRAY ARRAY['postern.issue_search', 'postern.search_pending', 'postern.search_term', 'postern.search_setting']::regclass[] LOOP
        EXECUTE format('ALTER TABLE %s OWNER TO postern_owner', one);
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', one);
    END LOOP;
    ALTER VIEW postern.search_source OWNER TO postern_owner;
    ALTER AGGREGATE postern.tsvector_concat(tsvector) OWNER TO postern_owner;
    FOR callee IN SELECT p.oid::regprocedure FROM pg_proc p
                  WHERE p.pronamespace = 'postern'::regnamespace AND p.proname LIKE 'search\_%' AND p.prokind = 'f' LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO postern_owner', callee);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', callee);
    END LOOP;
END
$$;

-- Nobody waits long behind a table that is held already.
LOCK TABLE public.comments IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = '100ms';
LOCK TABLE public.issues, public.attachments IN ACCESS EXCLUSIVE MODE;

-- The functions above read these tables as postern_owner, from now on: policies/ gives it the same policies, but later.
GRANT SELECT ON public.issues, public.comments, public.attachments TO postern_owner;
DO $$
DECLARE
    one text;
BEGIN
    FOREACH one IN ARRAY '{issues,comments,attachments}'::text[] LOOP
        IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass('public.' || one) AND polname = 'postern_owner_select') THEN
            EXECUTE format('CREATE POLICY postern_owner_select ON public.%I FOR SELECT TO postern_owner USING (true)', one);
        END IF;
    END LOOP;
END
$$;

CREATE TRIGGER search_added AFTER INSERT ON public.issues
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION postern.search_issues_added();
CREATE TRIGGER search_changed AFTER UPDATE ON public.issues FOR EACH ROW
    WHEN ((OLD.id, OLD.project_id, OLD.created_at, OLD.assignee_id, OLD.sprint_id, OLD.status, OLD.priority, OLD.issue_type, OLD.title, OLD.description)
          IS DISTINCT FROM
          (NEW.id, NEW.project_id, NEW.created_at, NEW.assignee_id, NEW.sprint_id, NEW.status, NEW.priority, NEW.issue_type, NEW.title, NEW.description))
    EXECUTE FUNCTION postern.search_issue_changed();
CREATE TRIGGER search_removed AFTER DELETE ON public.issues
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION postern.search_issues_removed();
CREATE TRIGGER search_truncated AFTER TRUNCATE ON public.issues FOR EACH STATEMENT EXECUTE FUNCTION postern.search_truncated();

CREATE TRIGGER search_added AFTER INSERT ON public.comments
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION postern.search_comments_added();
CREATE TRIGGER search_changed AFTER UPDATE ON public.comments FOR EACH ROW
    WHEN ((OLD.issue_id, OLD.body) IS DISTINCT FROM (NEW.issue_id, NEW.body)) EXECUTE FUNCTION postern.search_part_changed();
CREATE TRIGGER search_removed AFTER DELETE ON public.comments
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION postern.search_parts_removed();
CREATE TRIGGER search_truncated AFTER TRUNCATE ON public.comments FOR EACH STATEMENT EXECUTE FUNCTION postern.search_truncated();

CREATE TRIGGER search_added AFTER INSERT ON public.attachments
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION postern.search_attachments_added();
CREATE TRIGGER search_changed AFTER UPDATE ON public.attachments FOR EACH ROW
    WHEN ((OLD.issue_id, OLD.filename) IS DISTINCT FROM (NEW.issue_id, NEW.filename)) EXECUTE FUNCTION postern.search_part_changed();
CREATE TRIGGER search_removed AFTER DELETE ON public.attachments
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION postern.search_parts_removed();
CREATE TRIGGER search_truncated AFTER TRUNCATE ON public.attachments FOR EACH STATEMENT EXECUTE FUNCTION postern.search_truncated();
