-- Full-text search for those who log in as the application: postern.search(). README.md, "Search", says how it is used and why it is
-- built like this. Its tables and what keeps them current are in migrations/0040.
--
-- It runs as postern_owner, past row-level security, because under RLS no GIN index is used (@@ is not leakproof). So it has to
-- put the caller's projects into every statement that finds issues: search_visible() is the one place where that condition is made,
-- and no other function here reads an issue that was not found with it. What is shown of one is checked against the issue's own project.

-- CREATE OR REPLACE can not change what a function returns.
DROP FUNCTION IF EXISTS postern.search(text, jsonb, integer, integer), postern.search_tried(text, text),
    postern.search_found(text, text, boolean, timestamptz), postern.search_show(integer, tsquery), postern.search_similar(text),
    postern.search_rank(integer[], tsquery[], double precision[], tsquery, boolean), postern.search_words(tsquery), postern.search_parse(text),
    postern.search_matching(tsquery, text, double precision, double precision, boolean, integer, timestamptz);

CREATE OR REPLACE FUNCTION postern.search_setting(name text) RETURNS double precision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.value FROM postern.search_setting s WHERE s.name = $1
$$;

-- The values of one filter as an array of texts; null if it is not given.
CREATE OR REPLACE FUNCTION postern.search_filter(filters jsonb, key text, numbers boolean) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given jsonb := filters -> key;
    given_values text[];
BEGIN
    IF given IS NULL THEN
        RETURN NULL;
    END IF;
    given_values := ARRAY(SELECT jsonb_array_elements_text(CASE jsonb_typeof(given) WHEN 'array' THEN given ELSE jsonb_build_array(given) END));
    IF EXISTS (SELECT FROM unnest(given_values) v WHERE v IS NULL OR numbers AND v !~ '^[0-9]{1,9}$') THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('search: filter "%s" can not be %s', key, given),
            HINT = CASE WHEN numbers THEN 'Expected a number, or an array of numbers.' ELSE 'Expected a text, or an array of texts.' END;
    END IF;
    RETURN given_values;
END
$$;

-- The condition, as SQL on issue_search s, for what the caller may see and has asked for; null if that is nothing.
CREATE OR REPLACE FUNCTION postern.search_visible(filters jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    condition text := '';
    asked integer[] := postern.search_filter(filters, 'project', true)::integer[];
    key text;
BEGIN
    IF jsonb_typeof(filters) <> 'object' THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'search: filters must be a JSON object';
    END IF;
    FOR key IN SELECT jsonb_object_keys(filters) LOOP
        IF key <> ALL ('{project,status,priority,type,assignee,sprint,created_from,created_to}'::text[]) THEN
            RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('search: there is no filter "%s"', key),
                HINT = 'Expected project, status, priority, type, assignee, sprint, created_from or created_to.';
        END IF;
    END LOOP;
    IF postern.user_id() IS NULL THEN
        RETURN NULL;
    ELSIF postern.is_admin() IS NOT TRUE THEN
        asked := ARRAY(SELECT id FROM unnest(postern.project_ids()) AS id WHERE asked IS NULL OR id = ANY (asked));
    END IF;
    IF asked = '{}' THEN
        RETURN NULL;
    ELSIF asked IS NOT NULL THEN
        condition := format(' AND s.project_id = ANY (%L::integer[])', asked);
    END IF;
    FOREACH key IN ARRAY '{status,priority,type}'::text[] LOOP
        IF filters ? key THEN
            condition := condition || format(
                ' AND s.%I = ANY (%L::text[])', CASE key WHEN 'type' THEN 'issue_type' ELSE key END, postern.search_filter(filters, key, false));
        END IF;
    END LOOP;
    RETURN condition || postern.search_visible_more(filters);
END
$$;

CREATE OR REPLACE FUNCTION postern.search_visible_more(filters jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    condition text := '';
    key text;
BEGIN
    FOREACH key IN ARRAY '{assignee,sprint}'::text[] LOOP
        IF filters -> key = 'null' THEN
            condition := condition || format(' AND s.%I IS NULL', key || '_id');
        ELSIF filters ? key THEN
            condition := condition || format(' AND s.%I = ANY (%L::integer[])', key || '_id', postern.search_filter(filters, key, true));
        END IF;
    END LOOP;
    FOREACH key IN ARRAY '{created_from,created_to}'::text[] LOOP
        -- Words like today would make an answer depend on when it is given.
        IF filters ->> key !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}' OR filters -> key = 'null' THEN
            RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('search: filter "%s" can not be %s', key, filters -> key),
                HINT = 'Expected a date or a time, as 2026-11-25 or 2026-11-25T08:30:00Z.';
        ELSIF filters ? key THEN
            condition := condition || format(
                ' AND s.created_at %s %L', CASE key WHEN 'created_from' THEN '>=' ELSE '<' END, (filters ->> key)::timestamptz);
        END IF;
    END LOOP;
    RETURN condition;
END
$$;

-- What somebody typed as a tsquery: websearch_to_tsquery's language ("a phrase", -without, or), and prefixes (dead*). `without` is its
-- exclusions alone, `phrases` whether order matters.
CREATE OR REPLACE FUNCTION postern.search_parse(query text, OUT whole tsquery, OUT without tsquery, OUT phrases boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part text;
    quoted boolean := true;
    rest text := '';
    prefix text[];
    one tsquery;
BEGIN
    IF length(query) > 300 THEN
        -- A report pasted in: its quotes and hyphens mean nothing.
        whole := plainto_tsquery('english', left(query, 20000));
        without := '';
        phrases := whole::text ~ '<(-|[0-9]+)>';
        RETURN;
    END IF;
    whole := '';
    without := '';
    -- websearch_to_tsquery gives up where too many hyphens follow each other.
    FOREACH part IN ARRAY string_to_array(regexp_replace(query, '-(\s*-)+', '-', 'g'), '"') LOOP
        quoted := NOT quoted;
        IF quoted THEN
            rest := rest || '"' || part || '"';
            CONTINUE;
        END IF;
        FOR prefix IN SELECT regexp_matches(part, '(?:^|\s)(-?)([[:alnum:]_]{2,40})\*(?=\s|$)', 'g') LOOP
            one := to_tsquery('english', prefix[2] || ':*');
            IF prefix[1] = '-' AND one <> '' THEN
                one := !! one;
                without := without && one;
            END IF;
            whole := whole && one;
        END LOOP;
        rest := rest || regexp_replace(part, '(^|\s)-?[[:alnum:]_]{2,40}\*(?=\s|$)', ' ', 'g');
    END LOOP;
    whole := whole && websearch_to_tsquery('english', rest);
    without := without && websearch_to_tsquery('english', coalesce(
        (SELECT string_agg(m[1], ' ') FROM regexp_matches(rest, '(?:^|\s)(-"[^"]*"|-[^\s"]+)', 'g') AS m), ''));
    phrases := whole::text ~ '<(-|[0-9]+)>';
END
$$;

-- The words that a tsquery looks for, each as a tsquery of its own; about how many issues and titles have it; and how much finding it
-- says: rare words say more. A word that is not counted is taken to be rare. `says` shows in scores, and the issues counted are everybody's:
-- so it tells powers of two apart only, and nothing below 20.
CREATE OR REPLACE FUNCTION postern.search_words(whole tsquery)
RETURNS TABLE (
    word tsquery, lexeme text, prefix boolean, issues double precision, titles double precision, share double precision, says double precision,
    times bigint)
LANGUAGE sql STABLE ROWS 4 SET search_path = pg_catalog, pg_temp AS $$
    WITH written AS (
        SELECT m[1] AS text, m[3] IS NOT NULL AS prefix, replace(replace(m[2], '''''', ''''), '\\', '\') AS lexeme, count(*) AS times
        FROM regexp_matches(querytree(whole), '(''((?:[^'']|'''')+)''(?::(\*))?)', 'g') AS m
        GROUP BY 1, 2, 3
    ), size AS (
        SELECT greatest(1, c.reltuples) AS issues FROM pg_class c WHERE c.oid = 'postern.issue_search'::regclass
    )
    SELECT w.text::tsquery, w.lexeme, w.prefix, counted.issues, counted.titles, counted.issues / size.issues,
           ln(1 + size.issues / power(2, round(ln(greatest(counted.issues, 20)) / ln(2)))), w.times
    FROM written w, size, LATERAL (
        SELECT least(size.issues, coalesce(sum(t.issues), 0)) AS issues, least(size.issues, coalesce(sum(t.titles), 0)) AS titles
        FROM (SELECT t.issues, t.titles FROM postern.search_term t WHERE t.lexeme = w.lexeme
              UNION ALL
              SELECT t.issues, t.titles FROM postern.search_term t
              WHERE w.prefix AND t.lexeme > w.lexeme COLLATE "C" AND t.lexeme < (w.lexeme || chr(1114111)) COLLATE "C") AS t
    ) AS counted
$$;

-- About which part of all issues `visible` lets through, by its projects alone.
CREATE OR REPLACE FUNCTION postern.search_visible_part(visible text) RETURNS double precision
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(least(1, cardinality(string_to_array((regexp_match(visible, 'project_id = ANY \(''\{([0-9,]+)\}'))[1], ','))
                             / greatest(1, (SELECT reltuples FROM pg_class WHERE oid = 'public.projects'::regclass))), 1)
$$;

-- By looking at the newest issues one by one, at no more than `rows` of them.
CREATE OR REPLACE FUNCTION postern.search_walked(whole tsquery, visible text, rows integer, most integer) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids integer[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(f.issue_id) FROM (SELECT w.issue_id FROM ('
        'SELECT s.issue_id, s.tsv FROM postern.issue_search s WHERE true %s ORDER BY s.issue_id DESC LIMIT %s) w'
        ' WHERE w.tsv @@ $1 LIMIT %s) f', visible, rows, most)
    INTO ids USING whole;
    RETURN coalesce(ids, '{}');
END
$$;

-- By the GIN index, newest first. The sum, and the setting, keep the planner from walking through another index instead: bitmaps are combined.
CREATE OR REPLACE FUNCTION postern.search_indexed(whole tsquery, visible text, most integer) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET enable_indexscan = off SET enable_seqscan = off AS $$
DECLARE
    ids integer[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(f.issue_id) FROM (SELECT s.issue_id FROM postern.issue_search s WHERE s.tsv @@ $1 %s'
        ' ORDER BY s.issue_id + 0 DESC LIMIT %s) f', visible, most)
    INTO ids USING whole;
    RETURN coalesce(ids, '{}');
END
$$;

-- Issues for which `whole` holds, newest first, at most `most`. `rarest` is how many issues have the rarest word, `share` which part of
-- them all words. Finding a row in the index is some twenty times cheaper than looking at one; but it finds all there are, where the newest
-- would do. So words that many issues have are looked for in the newest ones, and of what the index finds the newest part is fetched first.
-- `complete`: there are no more than these.
CREATE OR REPLACE FUNCTION postern.search_matching(
    whole tsquery, visible text, rarest double precision, share double precision, phrases boolean, most integer, until timestamptz,
    OUT hits integer[], OUT complete boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    size double precision := (SELECT greatest(1, reltuples) FROM pg_class WHERE oid = 'postern.issue_search'::regclass);
    part double precision := postern.search_visible_part(visible);
    loose tsquery := whole;
    wanted integer := most;
    ids integer[];
    last double precision;
    more integer;
BEGIN
    IF querytree(whole) IN ('', 'T') OR least(most / greatest(share, 1e-9), size * part) * 20 < rarest THEN
        hits := postern.search_walked(whole, visible, 30 * most, most);
        IF cardinality(hits) < most THEN
            EXECUTE format('SELECT 1 FROM postern.issue_search s WHERE true %s OFFSET %s LIMIT 1', visible, 30 * most) INTO more;
        END IF;
        complete := cardinality(hits) < most AND more IS NULL;
        IF complete OR cardinality(hits) = most OR querytree(whole) IN ('', 'T') THEN
            RETURN;
        END IF;
    END IF;
    -- The index knows no positions: first the issues that have all words of a phrase, then those of them that have the phrase.
    IF phrases THEN
        loose := regexp_replace(querytree(whole), '<(-|[0-9]+)>', '&', 'g')::tsquery;
        wanted := 10 * most;
    END IF;
    IF size * part > rarest THEN
        visible := replace(visible, 's.project_id = ANY', 's.project_id + 0 = ANY');
    END IF;
    IF size * share * part > 3 * wanted THEN
        last := (SELECT max(s.issue_id) FROM postern.issue_search s);
        ids := postern.search_indexed(
            loose, visible || format(' AND s.issue_id > %s', floor(last - last * 2 * wanted / (size * share * part))), wanted);
    END IF;
    IF ids IS NULL OR cardinality(ids) < wanted THEN
        ids := postern.search_indexed(loose, visible, wanted);
    END IF;
    hits := ids;
    complete := cardinality(ids) < wanted;
    IF NOT phrases THEN
        RETURN;
    END IF;
    hits := '{}';
    FOR piece IN 0 .. (cardinality(ids) - 1) / most LOOP
        hits := hits || ARRAY(
            SELECT s.issue_id FROM unnest(ids[piece * most + 1 : (piece + 1) * most]) AS id JOIN postern.issue_search s ON s.issue_id = id
            WHERE s.tsv @@ whole ORDER BY s.issue_id DESC);
        IF cardinality(hits) >= most OR clock_timestamp() > until THEN
            complete := false;
            EXIT;
        END IF;
    END LOOP;
    hits := hits[:most];
END
$$;

-- Issues with all of the words in the title: of many matches only the newest are ranked, and these must be among them.
CREATE OR REPLACE FUNCTION postern.search_titled(whole tsquery, visible text, most integer) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids integer[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(f.issue_id) FROM (SELECT s.issue_id FROM postern.issue_search s WHERE s.title_tsv @@ $1 %s'
        ' ORDER BY s.issue_id + 0 DESC LIMIT %s) f', visible, most)
    INTO ids USING whole;
    RETURN coalesce(ids, '{}');
END
$$;

-- Issues with any of the words, those first whose words say most. Words that too many issues have are only looked for when ranking.
CREATE OR REPLACE FUNCTION postern.search_any(
    words tsquery[], says double precision[], issues double precision[], visible text, most integer) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parts text;
    ids integer[];
    size double precision := (SELECT reltuples FROM pg_class WHERE oid = 'postern.issue_search'::regclass);
BEGIN
    IF size * postern.search_visible_part(visible) > 20 * most THEN
        -- Not by its index, once for each word.
        visible := replace(visible, 's.project_id = ANY', 's.project_id + 0 = ANY');
    END IF;
    SELECT string_agg(format(
        'SELECT s.issue_id, %s::double precision AS says FROM postern.issue_search s WHERE s.tsv @@ %L::tsquery %s', r.says, r.word, visible), ' UNION ALL ')
    INTO parts
    FROM (SELECT w.*, sum(w.issues) OVER (ORDER BY w.issues, w.word) AS altogether, row_number() OVER (ORDER BY w.issues, w.word) AS place
          FROM unnest(words, says, issues) AS w (word, says, issues)) AS r
    WHERE r.altogether <= 20 * most OR r.place = 1 AND r.issues <= 60 * most;
    IF parts IS NOT NULL THEN
        EXECUTE format(
            'SELECT array_agg(f.issue_id) FROM (SELECT m.issue_id FROM (%s) m GROUP BY m.issue_id'
            ' ORDER BY sum(m.says) DESC, m.issue_id DESC LIMIT %s) f', parts, most)
        INTO ids;
    ELSE
        ids := postern.search_walked(array_to_string(words, ' | ')::tsquery, visible, 5 * most, most);
    END IF;
    RETURN coalesce(ids, '{}');
END
$$;

-- Issues whose pending words have a part in it. What holds for them is found out when ranking, on all of their words.
CREATE OR REPLACE FUNCTION postern.search_pending_matching(words tsquery[], visible text, most integer) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids integer[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(f.issue_id) FROM (SELECT s.issue_id FROM postern.issue_search s'
        ' WHERE s.issue_id IN (SELECT p.issue_id FROM postern.search_pending p WHERE p.tsv @@ $1) %s'
        ' ORDER BY s.issue_id DESC LIMIT %s) f', visible, most)
    INTO ids USING array_to_string(words, ' | ')::tsquery;
    RETURN coalesce(ids, '{}');
END
$$;

-- Scores of issues that have been found, on all of their words, pending ones too; without those for which `must` does not hold.
-- ts_rank of a single word stays below the weight that its best place has, however often it occurs: that is what puts titles before
-- descriptions before comments. Where some of many words suffice (`loosely`), having a word at all counts as well, rare words count for
-- more, and a long text for a little less: worked out on labelled duplicates of bug reports. (|| makes a copy in memory, so that words that
-- lie out of line are fetched once.)
CREATE OR REPLACE FUNCTION postern.search_rank(
    ids integer[], words tsquery[], says double precision[], must tsquery, loosely boolean)
RETURNS TABLE (issue_id integer, score double precision)
LANGUAGE sql STABLE ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
    WITH weights AS MATERIALIZED (
        SELECT ARRAY[postern.search_setting('weight_attachment'), postern.search_setting('weight_comment'),
                     postern.search_setting('weight_description'), postern.search_setting('weight_title')]::real[] AS by_place
    ), pending AS MATERIALIZED (
        SELECT p.issue_id, postern.tsvector_concat(p.tsv) AS tsv FROM postern.search_pending p WHERE p.issue_id = ANY (ids) GROUP BY 1
    ), documents AS MATERIALIZED (
        SELECT s.issue_id, CASE WHEN p.tsv IS NOT NULL THEN s.tsv || p.tsv WHEN cardinality(words) > 2 THEN s.tsv || '' ELSE s.tsv END AS tsv
        FROM unnest(ids) AS id JOIN postern.issue_search s ON s.issue_id = id LEFT JOIN pending p ON p.issue_id = s.issue_id
    )
    SELECT d.issue_id, coalesce(CASE WHEN loosely THEN (
        SELECT sum(power(w.says, 1.5) * (0.2 + ts_rank(weights.by_place, d.tsv, w.word)))
        FROM unnest(words, says) AS w (word, says) WHERE d.tsv @@ w.word) / (1 + 0.1 * ln(1 + length(d.tsv)))
    ELSE (
        SELECT sum(w.says * ts_rank(weights.by_place, d.tsv, w.word)) FROM unnest(words, says) AS w (word, says)) END, 0)
    FROM documents d, weights
    WHERE must IS NULL OR d.tsv @@ must
$$;

-- A lexeme as somebody has written it in this issue; null if issue_search has the issue in a project that it is not in.
CREATE OR REPLACE FUNCTION postern.search_spelling(id integer, lexeme text, word tsquery) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        lower((regexp_match(ts_headline('english', t.text, word,
                            'StartSel="' || chr(1) || '", StopSel="' || chr(2) || '", MaxWords=3, MinWords=1, ShortWord=0'),
                            chr(1) || '([^' || chr(2) || ']+)'))[1]),
        lexeme)
    FROM (SELECT left(i.title, 1000) || ' ' || coalesce(left(i.description, 5000), '') || ' ' || coalesce(
              (SELECT string_agg(c.body, ' ') FROM (
                   SELECT left(c.body, 2000) AS body FROM public.comments c WHERE c.issue_id = i.id ORDER BY c.id DESC LIMIT 20) c), '') AS text
          FROM public.issues i JOIN postern.issue_search s ON s.issue_id = i.id AND s.project_id = i.project_id WHERE i.id = $1) AS t
$$;

-- The nearest word to one that is nowhere to be found, out of what the caller may see, spelt as it is spelt there; null if there is
-- none. All words of all projects are considered, but only one that is in an issue found under `visible` is ever told.
CREATE OR REPLACE FUNCTION postern.search_nearest(wanted text, visible text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    near record;
    seen integer;
    spelt text;
BEGIN
    FOR near IN SELECT * FROM postern.search_similar(wanted) LOOP
        EXECUTE CASE WHEN near.issues < 20000 THEN
            format('SELECT s.issue_id FROM postern.issue_search s WHERE s.tsv @@ $1 %s LIMIT 1', visible)
        ELSE
            format('SELECT w.issue_id FROM (SELECT s.issue_id, s.tsv FROM postern.issue_search s WHERE true %s ORDER BY s.issue_id DESC LIMIT 1000) w'
                   ' WHERE w.tsv @@ $1 LIMIT 1', visible)
        END INTO seen USING near.word;
        spelt := postern.search_spelling(seen, near.lexeme, near.word);
        IF spelt IS NOT NULL THEN
            RETURN spelt;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- pg_trgm may be in any schema, which search_path must not depend on.
DO $$
BEGIN
    EXECUTE format($create$
        CREATE OR REPLACE FUNCTION postern.search_similar(wanted text) RETURNS TABLE (lexeme text, word tsquery, issues integer)
        LANGUAGE sql STABLE ROWS 6 SET search_path = pg_catalog, pg_temp AS $body$
            SELECT t.lexeme, ('''' || replace(replace(t.lexeme, '\', '\\'), '''', '''''') || '''')::tsquery, t.issues
            FROM postern.search_term t
            WHERE t.lexeme OPERATOR(%1$I.%%) wanted AND t.lexeme <> wanted
            ORDER BY %1$I.similarity(t.lexeme, wanted) - abs(length(t.lexeme) - length(wanted)) * 0.05 DESC, t.issues DESC, t.lexeme
            LIMIT 6
        $body$
        $create$,
        (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_trgm'));
END
$$;

-- `query` with each word that the caller can find nowhere replaced by the nearest that they can find; null if nothing was replaced.
CREATE OR REPLACE FUNCTION postern.search_correct(query text, whole tsquery, visible text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    better text := query;
    written record;
    nearest text;
    typed text;
BEGIN
    FOR written IN SELECT w.* FROM postern.search_words(whole) w WHERE NOT w.prefix AND length(w.lexeme) BETWEEN 3 AND 40 LIMIT 8 LOOP
        CONTINUE WHEN (postern.search_matching(
            written.word, visible, written.issues, written.share, false, 1, now())).hits <> '{}';
        nearest := postern.search_nearest(written.lexeme, visible);
        CONTINUE WHEN nearest IS NULL;
        FOR typed IN SELECT DISTINCT m[1] FROM regexp_matches(query, '([[:alnum:]_]+)', 'g') AS m LOOP
            IF to_tsvector('english', typed) @@ written.word THEN
                better := regexp_replace(better, '\m' || typed || '\M', replace(nearest, '\', '\\'), 'g');
            END IF;
        END LOOP;
    END LOOP;
    RETURN nullif(better, query);
END
$$;

-- For the rows of one page: where the best place of a word is, and a piece of the text around it, as HTML that is safe to show.
CREATE OR REPLACE FUNCTION postern.search_show(id integer, looked_for tsquery, OUT matched_in text, OUT snippet text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    words tsvector;
    shown text;
BEGIN
    SELECT s.tsv || coalesce((SELECT postern.tsvector_concat(p.tsv) FROM postern.search_pending p WHERE p.issue_id = s.issue_id), '')
    INTO words FROM postern.issue_search s WHERE s.issue_id = id;
    matched_in := CASE
        WHEN ts_filter(words, '{a}') @@ looked_for THEN 'title'
        WHEN ts_filter(words, '{b}') @@ looked_for THEN 'description'
        WHEN ts_filter(words, '{c}') @@ looked_for THEN 'comment'
        WHEN ts_filter(words, '{d}') @@ looked_for THEN 'attachment' END;
    IF matched_in = 'comment' THEN
        SELECT c.body INTO shown
        FROM (SELECT c.id, left(c.body, 10000) AS body FROM public.comments c WHERE c.issue_id = $1 ORDER BY c.id DESC LIMIT 50) AS c
        WHERE to_tsvector('english', c.body) @@ looked_for ORDER BY c.id DESC LIMIT 1;
    ELSIF matched_in = 'attachment' THEN
        SELECT a.filename INTO shown FROM public.attachments a
        WHERE a.issue_id = $1 AND postern.search_file_words(postern.search_file_text(a.filename)) @@ looked_for ORDER BY a.id DESC LIMIT 1;
    END IF;
    IF shown IS NULL THEN
        SELECT coalesce(nullif(i.description, ''), i.title) INTO shown FROM public.issues i WHERE i.id = $1;
    END IF;
    shown := replace(replace(replace(left(shown, 5000), '&', '&amp;'), '<', '&lt;'), '>', '&gt;');
    snippet := CASE WHEN matched_in IS NULL THEN left(shown, 200) ELSE ts_headline(
        'english', shown, looked_for, 'StartSel=<mark>, StopSel=</mark>, MaxWords=30, MinWords=10, MaxFragments=0') END;
END
$$;

-- All that a query finds, best first. `mode` is all (every word), any (some of the words, as of long queries and `relaxed` ones) or newest
-- (the time was up: not ranked). `complete`: nothing was left out.
CREATE OR REPLACE FUNCTION postern.search_found(
    query text, visible text, relaxed boolean, until timestamptz,
    OUT ids integer[], OUT scores double precision[], OUT looked_for tsquery, OUT mode text, OUT complete boolean)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    most integer := postern.search_setting('candidates');
    asked record := postern.search_parse(query);
    words tsquery[];
    says double precision[];
    issues double precision[];
    rarest double precision;
    share double precision;
    titles double precision;
    long boolean;
    must tsquery;
BEGIN
    SELECT array_agg(w.word), array_agg(w.says), array_agg(w.issues), min(w.issues), min(w.titles),
           exp(sum(ln(greatest(1e-9, w.share)))), max(w.altogether) > 8
    INTO words, says, issues, rarest, titles, share, long
    FROM (SELECT w.*, count(*) OVER () AS altogether FROM postern.search_words(asked.whole) w
          ORDER BY w.says * (1 + ln(w.times)) DESC, w.word LIMIT postern.search_setting('terms')) AS w;
    looked_for := array_to_string(words, ' | ')::tsquery;
    mode := CASE WHEN relaxed OR long THEN 'any' ELSE 'all' END;
    IF mode = 'any' THEN
        asked.whole := nullif(asked.without, '');
        ids := postern.search_any(words, says, issues, visible, most);
        complete := cardinality(ids) < most AND (SELECT sum(i) FROM unnest(issues) AS i) <= 20 * most;
    ELSE
        IF asked.whole::text ~ '\|' THEN
            rarest := (SELECT sum(i) FROM unnest(issues) AS i);
            share := (SELECT max(w.share) FROM postern.search_words(asked.whole) w);
        END IF;
        SELECT m.hits, m.complete INTO ids, complete
        FROM postern.search_matching(asked.whole, visible, rarest, share, asked.phrases, most, until) m;
    END IF;
    IF mode <> 'any' AND NOT complete AND titles < 50 * most THEN
        ids := ids || postern.search_titled(asked.whole, visible, most);
    END IF;
    IF clock_timestamp() > until THEN
        ids := ARRAY(SELECT DISTINCT id FROM unnest(ids) AS id ORDER BY id DESC);
        mode := 'newest';
        complete := false;
        RETURN;
    END IF;
    -- What was found by issue_search alone is right if nothing is pending.
    must := CASE mode WHEN 'any' THEN asked.whole END;
    IF EXISTS (SELECT FROM postern.search_pending) THEN
        ids := ids || postern.search_pending_matching(words, visible, most);
        must := asked.whole;
    END IF;
    ids := ARRAY(SELECT DISTINCT unnest(ids));
    SELECT array_agg(r.issue_id ORDER BY r.score DESC, r.issue_id DESC), array_agg(r.score ORDER BY r.score DESC, r.issue_id DESC)
    INTO ids, scores FROM postern.search_rank(ids, words, says, must, mode = 'any') r;
    ids := coalesce(ids, '{}');
END
$$;

-- The newest of what the caller may see: for a query without words, and where a limit of the session ended a search.
CREATE OR REPLACE FUNCTION postern.search_newest(visible text, whole tsquery, most integer) RETURNS integer[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids integer[];
BEGIN
    EXECUTE format(
        'SELECT array_agg(w.issue_id) FROM ('
        'SELECT s.issue_id, s.tsv FROM postern.issue_search s WHERE true %s ORDER BY s.issue_id DESC LIMIT %s) w'
        ' WHERE $1 IS NULL OR w.tsv @@ $1', visible, most)
    INTO ids USING whole;
    RETURN coalesce(ids, '{}');
END
$$;

-- Tries in turn: all words; all words with those corrected that are nowhere to be found; any of the words. Of five words or more it is
-- any of them as soon as few issues have all.
CREATE OR REPLACE FUNCTION postern.search_tried(
    query text, visible text,
    OUT ids integer[], OUT scores double precision[], OUT looked_for tsquery, OUT mode text, OUT complete boolean, OUT did_you_mean text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
    until timestamptz := clock_timestamp() + postern.search_setting('budget_ms') * interval '1 ms';
    whole tsquery := (postern.search_parse(query)).whole;
BEGIN
    IF numnode(whole) = 0 THEN
        ids := postern.search_newest(visible, NULL, postern.search_setting('candidates')::integer);
        mode := 'newest';
        complete := cardinality(ids) < postern.search_setting('candidates');
        RETURN;
    END IF;
    found := postern.search_found(query, visible, false, until);
    IF cardinality(found.ids) < 10 AND found.mode = 'all' AND cardinality(tsvector_to_array(to_tsvector('english', query))) > 4 THEN
        found := postern.search_found(query, visible, true, until);
    ELSIF found.ids = '{}' AND found.mode = 'all' THEN
        did_you_mean := postern.search_correct(query, whole, visible);
        IF did_you_mean IS NOT NULL THEN
            found := postern.search_found(did_you_mean, visible, false, until);
            found.mode := CASE found.mode WHEN 'all' THEN 'corrected' ELSE found.mode END;
        END IF;
        IF found.ids = '{}' AND found.mode <> 'newest' THEN
            found := postern.search_found(coalesce(did_you_mean, query), visible, true, until);
        END IF;
    END IF;
    ids := found.ids;
    scores := found.scores;
    looked_for := found.looked_for;
    mode := found.mode;
    complete := found.complete;
END
$$;

-- query: words, "a phrase", -without, this or that, prefix*. filters: README.md. One row an issue, best first; with equal scores the
-- newer one. total is how many were found, at most the setting `candidates`; total_is_exact says whether there are more.
-- PARALLEL UNSAFE, since a block with EXCEPTION begins a subtransaction.
CREATE OR REPLACE FUNCTION postern.search(
    query text, filters jsonb DEFAULT '{}', "limit" integer DEFAULT 20, "offset" integer DEFAULT 0)
RETURNS TABLE (
    issue_id integer, project_id integer, number integer, title text, snippet text, matched_in text, score double precision,
    total integer, total_is_exact boolean, mode text, did_you_mean text)
LANGUAGE plpgsql STABLE SECURITY DEFINER PARALLEL UNSAFE ROWS 20 COST 10000
SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
SET jit = off SET random_page_cost = 1.1 SET max_parallel_workers_per_gather = 0 SET work_mem = '32MB' SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    visible text := postern.search_visible(coalesce(filters, '{}'));
    found record;
    skip integer := least("offset", 1000000000);   -- with "limit" still an integer, and beyond all that is found
BEGIN
    IF "limit" IS NULL OR "limit" NOT BETWEEN 1 AND 100 OR "offset" IS NULL OR "offset" < 0 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'search: limit must be between 1 and 100, and offset not below 0';
    ELSIF visible IS NULL OR query IS NULL THEN
        RETURN;
    END IF;
    BEGIN
        found := postern.search_tried(query, visible);
    EXCEPTION WHEN query_canceled THEN
        -- Only statement_timeout is answered like this; who cancels wants no answer.
        IF clock_timestamp() - statement_timestamp() < 0.9 * interval '1 ms' * nullif(
                (SELECT setting::integer FROM pg_settings WHERE name = 'statement_timeout'), 0) IS NOT FALSE THEN
            RAISE;
        END IF;
        SELECT r.ids, NULL::double precision[] AS scores, r.whole AS looked_for, 'newest' AS mode, false AS complete, NULL::text AS did_you_mean
        INTO found
        FROM (SELECT postern.search_newest(visible, p.whole, 500) AS ids, p.whole FROM postern.search_parse(query) p) AS r;
    END;
    RETURN QUERY
        SELECT i.id, i.project_id, i.number, i.title, shown.snippet, shown.matched_in, page.score,
               cardinality(found.ids), found.complete, found.mode, found.did_you_mean
        FROM unnest(found.ids[skip + 1 : skip + "limit"], found.scores[skip + 1 : skip + "limit"])
                 WITH ORDINALITY AS page (id, score, place)
        JOIN public.issues i ON i.id = page.id
        -- A row that is behind its issue, as when triggers were off, was found by a project that is not the issue's any more.
        JOIN postern.issue_search s ON s.issue_id = i.id AND s.project_id = i.project_id
        CROSS JOIN LATERAL postern.search_show(i.id, found.looked_for) AS shown
        ORDER BY page.place;
END
$$;

-- Moves pending words into issue_search, up to `most` issues; how many it were. To be called every minute or so, from cron or pg_cron:
-- what waits is read by every search. Any number may run at once; a writer waits for at most one batch.
CREATE OR REPLACE FUNCTION postern.search_fold(most integer DEFAULT 200) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
DECLARE
    ids integer[] := ARRAY(
        SELECT s.issue_id FROM postern.issue_search s
        WHERE s.issue_id IN (SELECT p.issue_id FROM postern.search_pending p)
        ORDER BY s.issue_id LIMIT most FOR UPDATE SKIP LOCKED);
BEGIN
    PERFORM postern.search_refresh(ids);
    RETURN cardinality(ids);
END
$$;

DO $$
DECLARE
    callee regprocedure;
BEGIN
    FOR callee IN SELECT p.oid::regprocedure FROM pg_proc p
                  WHERE p.pronamespace = 'postern'::regnamespace AND p.prokind = 'f' AND (p.proname = 'search' OR p.proname LIKE 'search\_%') LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO postern_owner', callee);
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', callee);
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION postern.search(text, jsonb, integer, integer) TO tracker_app;
