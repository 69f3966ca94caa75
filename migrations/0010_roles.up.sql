-- postern: lock_timeout=1s statement_timeout=30s retry=10 reversible=yes
-- The role and the schema that policies and their functions belong to, and an end to what the application never needed: temporary
-- objects, objects of its own, TRUNCATE. Nothing that it does today is refused by this.
--
-- Runs as a superuser, or as a role with CREATEROLE that owns the database and is a member of tracker_owner.

DO $$
BEGIN
    IF to_regrole('tracker_owner') IS NULL OR to_regrole('tracker_app') IS NULL THEN
        RAISE EXCEPTION 'the roles tracker_owner, which owns the tables, and tracker_app, which the application logs in as, must exist';
    END IF;
    IF to_regrole('postern_owner') IS NULL THEN
        CREATE ROLE postern_owner NOLOGIN;
    END IF;
    IF NOT pg_has_role(current_user, 'postern_owner', 'MEMBER') THEN
        EXECUTE format('GRANT postern_owner TO %I', current_user);
    END IF;
END
$$;

CREATE SCHEMA IF NOT EXISTS postern_migration;
REVOKE ALL ON SCHEMA postern_migration FROM PUBLIC;

-- The tables in the order in which row-level security is switched on, the smallest first: policies/91_… to 97_… read it.
CREATE TABLE postern_migration.rollout (
    position   integer NOT NULL,
    table_name text PRIMARY KEY,
    enable     boolean NOT NULL DEFAULT true,   -- ENABLE ROW LEVEL SECURITY
    force      boolean NOT NULL DEFAULT true    -- FORCE: for the owner too; its backups then need BYPASSRLS
);
INSERT INTO postern_migration.rollout (position, table_name) VALUES
    (1, 'projects'), (2, 'sprints'), (3, 'users'), (4, 'project_members'), (5, 'attachments'), (6, 'issues'), (7, 'comments');

-- What PUBLIC and tracker_app were granted before on the database, the schema and these tables, for the way down.
CREATE TABLE postern_migration.earlier_grant (
    object      text NOT NULL,     -- 'database', 'schema public', or a table
    column_name text,              -- of a grant on one column
    grantee     text NOT NULL,
    privilege   text NOT NULL
);
INSERT INTO postern_migration.earlier_grant
SELECT 'database', NULL, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE d.datname = current_database() AND (a.grantee = 0 OR r.rolname = 'tracker_app')
UNION ALL
SELECT 'schema public', NULL, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
FROM pg_namespace n, aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = 'public' AND (a.grantee = 0 OR r.rolname = 'tracker_app')
UNION ALL
SELECT c.oid::regclass::text, NULL, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
FROM pg_class c, aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid IN (SELECT to_regclass('public.' || t.table_name) FROM postern_migration.rollout t) AND (a.grantee = 0 OR r.rolname = 'tracker_app')
UNION ALL
SELECT c.oid::regclass::text, t.attname, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE c.oid IN (SELECT to_regclass('public.' || t.table_name) FROM postern_migration.rollout t) AND (a.grantee = 0 OR r.rolname = 'tracker_app');

-- Row-level security that there was before, likewise: policies/ takes the place of it.
CREATE TABLE postern_migration.earlier_row_security (
    table_name text PRIMARY KEY,
    enabled    boolean NOT NULL,
    forced     boolean NOT NULL
);
INSERT INTO postern_migration.earlier_row_security
SELECT t.table_name, c.relrowsecurity, c.relforcerowsecurity
FROM postern_migration.rollout t JOIN pg_class c ON c.oid = to_regclass('public.' || t.table_name);
CREATE TABLE postern_migration.earlier_policy (
    table_name  text NOT NULL,
    policy_name text NOT NULL,
    definition  text NOT NULL,     -- the CREATE POLICY
    PRIMARY KEY (table_name, policy_name)
);
DO $$
DECLARE
    path text := current_setting('search_path');
BEGIN
    PERFORM set_config('search_path', 'pg_catalog', true);   -- so that expressions name everything with its schema
    INSERT INTO postern_migration.earlier_policy
    SELECT t.table_name, p.polname, concat(
        format('CREATE POLICY %I ON public.%I AS %s FOR %s TO %s', p.polname, t.table_name,
               CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
               CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
               (SELECT string_agg(CASE one WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(one)) END, ', ') FROM unnest(p.polroles) one)),
        ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
    FROM postern_migration.rollout t JOIN pg_policy p ON p.polrelid = to_regclass('public.' || t.table_name)
    WHERE p.polname NOT LIKE 'postern\_%';
    PERFORM set_config('search_path', path, true);
END
$$;

-- Choices that a DBA may make before the later migrations run.
CREATE TABLE postern_migration.option (
    name    text PRIMARY KEY,
    value   text NOT NULL,
    meaning text NOT NULL
);
INSERT INTO postern_migration.option VALUES
    ('compat_trigger', 'during',
     'normalise what old versions of the application write: off, during (until the constraints are validated), keep (until 0025 is done anew)');

-- Switches one table on, as far as its row says; true if that changed anything.
CREATE FUNCTION postern_migration.enable_row_security(of_table text) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    one record;
BEGIN
    SELECT r.enable AND NOT c.relrowsecurity AS enable, r.force AND NOT c.relforcerowsecurity AS force, c.oid::regclass AS target
    INTO STRICT one
    FROM postern_migration.rollout r JOIN pg_class c ON c.oid = to_regclass('public.' || r.table_name) WHERE r.table_name = of_table;
    IF one.enable THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', one.target);
    END IF;
    IF one.force THEN
        EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', one.target);
    END IF;
    RETURN one.enable OR one.force;
END
$$;

-- How far a batched step has come.
CREATE TABLE postern_migration.batch_position (
    step text PRIMARY KEY,
    last bigint NOT NULL DEFAULT 0
);

CREATE SCHEMA postern AUTHORIZATION postern_owner;
REVOKE ALL ON SCHEMA postern FROM PUBLIC;
GRANT USAGE ON SCHEMA postern TO tracker_app;
ALTER DEFAULT PRIVILEGES FOR ROLE postern_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

DO $$
BEGIN
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('REVOKE CREATE, TEMPORARY ON DATABASE %I FROM tracker_app', current_database());
END
$$;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM tracker_app;
REVOKE TRUNCATE, REFERENCES, TRIGGER ON users, projects, project_members, sprints, issues, comments, attachments FROM tracker_app;

-- What the identity functions read (policies/00_functions.sql).
GRANT USAGE ON SCHEMA public TO postern_owner;
GRANT SELECT (id, role, is_active) ON users TO postern_owner;
GRANT SELECT (id) ON projects TO postern_owner;
GRANT SELECT (project_id, user_id, role) ON project_members TO postern_owner;
GRANT SELECT (id, project_id) ON issues TO postern_owner;
