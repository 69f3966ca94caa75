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
    ('terms', 16, 'how many words of a long query are looked for, the rarest first')