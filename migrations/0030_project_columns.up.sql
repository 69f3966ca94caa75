-- postern: lock_timeout=1s statement_timeout=30s retry=10 requires=0025 reversible=yes
-- The project of a comment and of an attachment, in the row itself: who may see it is then a comparison, not a look at its issue, and
-- what is cached of comments does not depend on what happens to issues. The application need not know: a trigger fills the column in,
-- whatever was given for it.
--
-- A new column without a default changes no row.

-- Nobody waits long behind a table that is held already.
LOCK TABLE comments IN ACCESS EXCLUSIVE MODE;
SET LOCAL lock_timeout = '100ms';
LOCK TABLE issues, attachments IN ACCESS EXCLUSIVE MODE;

ALTER TABLE comments ADD COLUMN project_id integer;
ALTER TABLE attachments ADD COLUMN project_id integer;

-- It reads issues as postern_owner, from now on: policies/ gives it the same policy, but later, and row-level security may be on already.
-- row_security = on, whatever the session has: for this owner no row is passed over.
CREATE FUNCTION postern.fill_project_id() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
    SELECT i.project_id INTO NEW.project_id FROM public.issues i WHERE i.id = NEW.issue_id;
    RETURN NEW;
END
$$;
ALTER FUNCTION postern.fill_project_id() OWNER TO postern_owner;
REVOKE ALL ON FUNCTION postern.fill_project_id() FROM PUBLIC;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = 'issues'::regclass AND polname = 'postern_owner_select') THEN
        CREATE POLICY postern_owner_select ON issues FOR SELECT TO postern_owner USING (true);
    END IF;
END
$$;

CREATE TRIGGER postern_project BEFORE INSERT OR UPDATE OF issue_id, project_id ON comments
    FOR EACH ROW EXECUTE FUNCTION postern.fill_project_id();
CREATE TRIGGER postern_project BEFORE INSERT OR UPDATE OF issue_id, project_id ON attachments
    FOR EACH ROW EXECUTE FUNCTION postern.fill_project_id();

-- The next rows that have none, in the order of their ids; how many there were.
CREATE FUNCTION postern_migration.fill_batch(of_table text, size integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    step_name text := concat('fill ', of_table);
    after_id bigint;
    reached bigint;
    done integer;
BEGIN
    INSERT INTO postern_migration.batch_position (step) VALUES (step_name) ON CONFLICT DO NOTHING;
    LOOP
        SELECT last INTO after_id FROM postern_migration.batch_position WHERE step = step_name FOR UPDATE;
        EXECUTE format(
            'WITH missing AS MATERIALIZED (
                 SELECT t.id FROM public.%1$I t WHERE t.project_id IS NULL AND t.id > $1 ORDER BY t.id LIMIT $2 FOR UPDATE),
             filled AS (
                 UPDATE public.%1$I t SET project_id = NULL FROM missing WHERE t.id = missing.id)   -- the trigger knows better
             SELECT count(*), max(id) FROM missing', of_table)
        INTO done, reached USING after_id, size;
        IF done > 0 THEN
            UPDATE postern_migration.batch_position SET last = reached WHERE step = step_name;
            RETURN done;
        END IF;
        EXIT WHEN after_id = 0;
        UPDATE postern_migration.batch_position SET last = 0 WHERE step = step_name;
    END LOOP;
    RETURN 0;
END
$$;
