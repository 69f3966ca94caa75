-- postern: transaction=off batch=on
BEGIN; /* a /* nested */ comment; */ SELECT 'it''s; one', E'a\';', $tag$ ; $$ ; $tag$, "a;b"; COMMIT;
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
CREATE RULE r AS ON INSERT TO t DO ALSO (INSERT INTO a VALUES (1); INSERT INTO b VALUES (2));
SELECT U&'\0041;' ; SELECT e'\\'; SELECT 1 -- the end;
