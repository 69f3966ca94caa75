-- postern: lock_timeout=1s statement_timeout=30s retry=10
-- Who is asking, and what is theirs. Policies call these and nothing else; so may the application.
--
-- Without an identity, or with one that is not understood, they give null or nothing, never an error. None takes a user's id: nobody
-- can ask for somebody else. What a person may do is read from the tables at each statement: who is demoted, or leaves a project, is so at once.
--
-- PARALLEL RESTRICTED: an identity may be bound to the backend that it was given to, which a parallel worker is not. In the form that
-- policies use, (SELECT postern.f()), they are called once a statement and the scan is parallel all the same.

SET LOCAL ROLE postern_owner;

-- Who the session says is asking. Of these functions' own use, and no SECURITY DEFINER, so that PostgreSQL puts its expression into theirs:
-- a call would cost each of them as much again as they take. The one place that knows where the identity comes from.
CREATE OR REPLACE FUNCTION postern.given_user_id() RETURNS integer
LANGUAGE sql STABLE PARALLEL RESTRICTED
RETURN CASE WHEN current_setting('app.user_id', true) ~ '^[1-9][0-9]{0,9}$' THEN
    CASE WHEN current_setting('app.user_id', true)::bigint <= 2147483647 THEN current_setting('app.user_id', true)::integer END
END;

CREATE OR REPLACE FUNCTION postern.user_id() RETURNS integer
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN postern.given_user_id();
END
$$;

-- users.role; null for who is unknown or not active.
CREATE OR REPLACE FUNCTION postern.role() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT u.role FROM public.users u WHERE u.id = postern.given_user_id() AND u.is_active);
END
$$;

CREATE OR REPLACE FUNCTION postern.is_admin() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.users u WHERE u.id = postern.given_user_id() AND u.is_active AND u.role = 'admin');
END
$$;

-- The projects that the user is a member of; all of them for administrators: a policy that said "or is an administrator" would
-- be a filter on every row, where this is a condition on an index. One statement: each costs as much as the whole rest of the call.
CREATE OR REPLACE FUNCTION postern.project_ids() RETURNS integer[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce((
        SELECT CASE u.role
            WHEN 'admin' THEN ARRAY(SELECT p.id FROM public.projects p)
            ELSE ARRAY(SELECT m.project_id FROM public.project_members m WHERE m.user_id = u.id)
        END
        FROM public.users u WHERE u.id = postern.given_user_id() AND u.is_active), '{}');
END
$$;

-- The projects that the user manages. users.role = 'manager' gives nothing by itself: project_members.role does.
CREATE OR REPLACE FUNCTION postern.managed_project_ids() RETURNS integer[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce((
        SELECT CASE u.role
            WHEN 'admin' THEN ARRAY(SELECT p.id FROM public.projects p)
            ELSE ARRAY(SELECT m.project_id FROM public.project_members m WHERE m.user_id = u.id AND m.role = 'manager')
        END
        FROM public.users u WHERE u.id = postern.given_user_id() AND u.is_active), '{}');
END
$$;

-- A trigger's: what a policy can't say, since it does not see the row as it was. Where row-level security does not hold, neither does this,
-- nor for whom the table's bridge opens everything (rollout/bridge_on.sql). Such a role may not even name the function that is asked last.
CREATE OR REPLACE FUNCTION postern.administrators_only() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT row_security_active(TG_RELID) OR EXISTS (
            SELECT FROM pg_policy p CROSS JOIN unnest(p.polroles) AS bridged (role)
            WHERE p.polrelid = TG_RELID AND p.polname = 'postern_bridge' AND pg_has_role(bridged.role, 'USAGE')) THEN
        RETURN NEW;
    END IF;
    IF NOT postern.is_admin() THEN
        RAISE EXCEPTION 'only an administrator may change % of "%"', array_to_string(TG_ARGV, ', '), TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;

REVOKE ALL ON FUNCTION postern.given_user_id(), postern.user_id(), postern.role(), postern.is_admin(), postern.project_ids(),
    postern.managed_project_ids(), postern.administrators_only() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION postern.user_id(), postern.role(), postern.is_admin(), postern.project_ids(), postern.managed_project_ids()
    TO tracker_app;

RESET ROLE;
