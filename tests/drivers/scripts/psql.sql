-- psql: what a person types. Errors are part of the transcript.
\set VERBOSITY verbose
\set SHOW_CONTEXT never
\pset null '(null)'
\echo reads
SELECT 1 AS one, 'two' AS two, NULL AS three;
SELECT * FROM person ORDER BY id LIMIT 5;
SELECT * FROM person ORDER BY id LIMIT 5;
SELECT count(*), sum(score) FROM person;
SELECT 1; SELECT 2; SELECT 'several' \; SELECT 'in one';
TABLE person ORDER BY id DESC LIMIT 2;
SELECT p.name, q.name FROM person p JOIN person q ON q.id = p.id + 1 WHERE p.id < 4 ORDER BY 1;
SELECT id, name FROM person WHERE id = 3 \gx
SELECT id, born, score FROM person WHERE id = 3 \gdesc
SELECT name AS picked FROM person WHERE id = 4 \gset
\echo :picked
SELECT format('SELECT %s AS generated', g) FROM generate_series(1, 2) g \gexec
\echo transactions
BEGIN;
INSERT INTO scratch VALUES (1, 'one') RETURNING *;
SAVEPOINT a;
INSERT INTO scratch VALUES (1, 'twice');
SELECT 1;
ROLLBACK TO a;
SELECT * FROM scratch;
COMMIT;
SELECT * FROM scratch;
BEGIN;
DELETE FROM scratch;
ROLLBACK;
SELECT count(*) FROM scratch;
\set AUTOCOMMIT off
INSERT INTO scratch VALUES (2, 'two');
SELECT count(*) FROM scratch;
ROLLBACK;
SELECT count(*) FROM scratch;
COMMIT;
\set AUTOCOMMIT on
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
SELECT 'still alive';
COMMIT;
\set ON_ERROR_ROLLBACK off
\echo prepared statements
PREPARE get(int) AS SELECT name FROM person WHERE id = $1;
EXECUTE get(1);
EXECUTE get(2);
DEALLOCATE get;
EXECUTE get(1);
\echo copy
COPY scratch FROM STDIN;
10	ten
11	eleven
\.
COPY scratch TO STDOUT;
\copy scratch from stdin csv
12,twelve
\.
COPY (SELECT * FROM scratch ORDER BY id) TO STDOUT CSV HEADER;
COPY scratch FROM STDIN;
x	not a number
\.
\echo errors
SELECT 1/0;
SELEC 1;
SELECT * FROM nowhere;
INSERT INTO scratch VALUES (1, 'duplicate');
DO $$ BEGIN RAISE NOTICE 'noticed'; RAISE EXCEPTION 'raised' USING ERRCODE = 'P0042', HINT = 'a hint'; END $$;
\echo settings
SET work_mem = '7MB';
SHOW work_mem;
RESET work_mem;
SHOW work_mem;
SET datestyle = 'German';
SELECT born FROM person WHERE id = 1;
RESET datestyle;
SELECT born FROM person WHERE id = 1;
\encoding LATIN1
SELECT 'encoded';
\encoding UTF8
\echo descriptions
\d person
\dt scratch
\dn
\echo temporary
CREATE TEMP TABLE mine(a int);
INSERT INTO mine VALUES (1), (2);
SELECT sum(a) FROM mine;
DROP TABLE mine;
\echo cursors
\set FETCH_COUNT 3
SELECT id FROM person ORDER BY id LIMIT 8;
\set FETCH_COUNT 0
TRUNCATE scratch;
