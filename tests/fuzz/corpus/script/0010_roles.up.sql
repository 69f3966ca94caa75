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
SELECT c.oid::regclass::text, t.attname, coalesce(r.roln