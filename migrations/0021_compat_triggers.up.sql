-- postern: lock_timeout=1s statement_timeout=30s retry=10 requires=0020 reversible=yes
-- While the rows are being normalised, old versions of the application may go on writing what they always wrote: a trigger does to
-- it what is done to the rows. A write of allowed values does not call it. The option compat_trigger decides (0010).
--
-- CREATE TRIGGER waits for writers of its table and holds up the next ones meanwhile, for lock_timeout at most; of the tables after the
-- first for 100 ms, since those before are held by then.

CREATE FUNCTION postern_migration.normalise_row() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    of_column text;
    row_now jsonb := to_jsonb(NEW);
    earlier jsonb;
    becomes record;
    pk text := CASE TG_TABLE_NAME WHEN 'project_members' THEN concat(row_now ->> 'project_id', ',', row_now ->> 'user_id') ELSE row_now ->> 'id' END;
BEGIN
    IF current_setting('postern_migration.restoring', true) = 'on' THEN
        RETURN NEW;   -- the way down
    END IF;
    IF TG_OP = 'UPDATE' THEN
        earlier := to_jsonb(OLD);
    END IF;
    FOREACH of_column IN ARRAY TG_ARGV LOOP
        CONTINUE WHEN EXISTS (SELECT FROM postern_migration.allowed_value a
                              WHERE (a.table_name, a.column_name, a.value) = (TG_TABLE_NAME::text, of_column, row_now ->> of_column));
        CONTINUE WHEN row_now ->> of_column IS NULL;
        becomes := postern_migration.normalised(TG_TABLE_NAME, of_column, row_now ->> of_column);
        NEW := jsonb_populate_record(NEW, jsonb_build_object(of_column, becomes.new_value));
        -- Written back unchanged by somebody who edited something else: the original is worth keeping.
        IF earlier ->> of_column = row_now ->> of_column THEN
            INSERT INTO postern_migration.quarantine
            VALUES (TG_TABLE_NAME, pk, of_column, row_now ->> of_column, becomes.new_value, becomes.rule)
            ON CONFLICT DO NOTHING;
        END IF;
    END LOOP;
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION postern_migration.normalise_row() FROM PUBLIC;

CREATE FUNCTION postern_migration.drop_compat_triggers() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
BEGIN
    LOCK TABLE public.issues IN ACCESS EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '100ms', true);
    LOCK TABLE public.users, public.project_members, public.sprints IN ACCESS EXCLUSIVE MODE;
    DROP TRIGGER IF EXISTS postern_compat ON public.users;
    DROP TRIGGER IF EXISTS postern_compat ON public.project_members;
    DROP TRIGGER IF EXISTS postern_compat ON public.sprints;
    DROP TRIGGER IF EXISTS postern_compat ON public.issues;
END
$$;

CREATE FUNCTION postern_migration.install_compat_triggers() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT value FROM postern_migration.option WHERE name = 'compat_trigger') = 'off' THEN
        RETURN;
    END IF;
    LOCK TABLE public.issues IN SHARE ROW EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '100ms', true);
    LOCK TABLE public.users, public.project_members, public.sprints IN SHARE ROW EXCLUSIVE MODE;
    CREATE OR REPLACE TRIGGER postern_compat BEFORE INSERT OR UPDATE OF role ON public.users FOR EACH ROW
        WHEN (NEW.role NOT IN ('user', 'manager', 'admin'))
        EXECUTE FUNCTION postern_migration.normalise_row('role');
    CREATE OR REPLACE TRIGGER postern_compat BEFORE INSERT OR UPDATE OF role ON public.project_members FOR EACH ROW
        WHEN (NEW.role NOT IN ('developer', 'manager'))
        EXECUTE FUNCTION postern_migration.normalise_row('role');
    CREATE OR REPLACE TRIGGER postern_compat BEFORE INSERT OR UPDATE OF status ON public.sprints FOR EACH ROW
        WHEN (NEW.status NOT IN ('planned', 'active', 'completed'))
        EXECUTE FUNCTION postern_migration.normalise_row('status');
    CREATE OR REPLACE TRIGGER postern_compat BEFORE INSERT OR UPDATE OF status, priority, issue_type ON public.issues FOR EACH ROW
        WHEN (NEW.status NOT IN ('open', 'in_progress', 'in_review', 'resolved', 'closed')
              OR NEW.priority NOT IN ('low', 'medium', 'high', 'critical')
              OR NEW.issue_type NOT IN ('bug', 'feature', 'task', 'question'))
        EXECUTE FUNCTION postern_migration.normalise_row('status', 'priority', 'issue_type');
END
$$;

-- Normalises the next rows of one column, in the order of their ids; how many there were. Rows of a table with more than one key column
-- are taken as they come. Who comes to the end looks once more from the start, for rows that were written meanwhile.
-- row_security = off: an error rather than rows passed over, should policies be in force for whoever runs this.
CREATE FUNCTION postern_migration.normalise_batch(of_table text, of_column text, size integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    step_name text := concat('normalise ', of_table, '.', of_column);
    keyed boolean := of_table <> 'project_members';
    after_id bigint;
    reached bigint;
    done integer;
BEGIN
    INSERT INTO postern_migration.batch_position (step) VALUES (step_name) ON CONFLICT DO NOTHING;
    LOOP
        SELECT last INTO after_id FROM postern_migration.batch_position WHERE step = step_name FOR UPDATE;
        EXECUTE format(
            'WITH bad AS MATERIALIZED (
                 SELECT t.ctid AS place, %4$s AS id, %3$s AS pk, t.%2$I AS old_value FROM public.%1$I t
                 WHERE t.%2$I <> ALL ($1) AND %4$s > $2 ORDER BY %4$s LIMIT $3 FOR UPDATE),
             mapped AS MATERIALIZED (
                 SELECT bad.*, m.new_value, m.rule FROM bad, LATERAL postern_migration.normalised($4, $5, bad.old_value) m),
             kept AS (
                 INSERT INTO postern_migration.quarantine AS q (table_name, pk, column_name, old_value, new_value, rule)
                 SELECT $4, pk, $5, old_value, new_value, rule FROM mapped
                 ON CONFLICT (table_name, column_name, pk) DO UPDATE
                 SET old_value = excluded.old_value, new_value = excluded.new_value, rule = excluded.rule, migrated_at = clock_timestamp()),
             changed AS (
                 UPDATE public.%1$I t SET %2$I = mapped.new_value FROM mapped WHERE t.ctid = mapped.place)
             SELECT count(*), max(id) FROM mapped',
            of_table, of_column,
            CASE WHEN keyed THEN 't.id::text' ELSE 'concat(t.project_id, '','', t.user_id)' END,
            CASE WHEN keyed THEN 't.id' ELSE 't.project_id' END)
        INTO done, reached
        USING ARRAY(SELECT a.value FROM postern_migration.allowed_value a WHERE a.table_name = of_table AND a.column_name = of_column),
              after_id, size, of_table, of_column;
        IF done > 0 THEN
            -- Two members of a project may be in different batches.
            UPDATE postern_migration.batch_position SET last = CASE WHEN keyed THEN reached ELSE reached - 1 END WHERE step = step_name;
            RETURN done;
        END IF;
        EXIT WHEN after_id = 0;
        UPDATE postern_migration.batch_position SET last = 0 WHERE step = step_name;
    END LOOP;
    RETURN 0;
END
$$;

-- The way back: the next originals of one column, where the row still holds what it was given. What does not any more stays in
-- quarantine, with an empty rule.
CREATE FUNCTION postern_migration.restore_batch(of_table text, of_column text, size integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    done integer;
BEGIN
    PERFORM set_config('postern_migration.restoring', 'on', true);
    EXECUTE format(
        'WITH taken AS MATERIALIZED (
             SELECT q.pk, q.old_value, q.new_value FROM postern_migration.quarantine q
             WHERE q.table_name = $1 AND q.column_name = $2 AND q.rule <> $4 ORDER BY q.pk LIMIT $3 FOR UPDATE),
         restored AS (
             UPDATE public.%1$I t SET %2$I = taken.old_value FROM taken WHERE %3$s AND t.%2$I = taken.new_value RETURNING taken.pk),
         gone AS (
             DELETE FROM postern_migration.quarantine q USING restored r
             WHERE q.table_name = $1 AND q.column_name = $2 AND q.pk = r.pk),
         left_over AS (
             UPDATE postern_migration.quarantine q SET rule = $4 FROM taken
             WHERE q.table_name = $1 AND q.column_name = $2 AND q.pk = taken.pk
               AND NOT EXISTS (SELECT FROM restored r WHERE r.pk = taken.pk))
         SELECT count(*) FROM taken',
        of_table, of_column,
        CASE of_table WHEN 'project_members'
            THEN '(t.project_id, t.user_id) = (split_part(taken.pk, '','', 1)::integer, split_part(taken.pk, '','', 2)::integer)'
            ELSE 't.id = taken.pk::integer' END)
    INTO done USING of_table, of_column, size, '';
    DELETE FROM postern_migration.batch_position WHERE step = concat('normalise ', of_table, '.', of_column);
    PERFORM set_config('postern_migration.restoring', '', true);
    RETURN done;
END
$$;

SELECT postern_migration.install_compat_triggers();
