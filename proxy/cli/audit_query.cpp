#include "cli/audit_query.hpp"

namespace postern::cli {

namespace {

/// What both ask about: roles, tables, privileges and policies.
constexpr const char* common_tables = R"sql(
WITH RECURSIVE
-- The role, and every role that it can become: SET ROLE asks for membership only.
me AS (
    SELECT r.oid, r.rolname FROM pg_roles r, pg_roles self
    WHERE self.rolname = $1
      AND (r.oid = self.oid OR NOT self.rolsuper AND pg_has_role(self.oid, r.oid, 'MEMBER'))),
ours AS (
    SELECT n.oid, n.nspname FROM pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
of_extensions AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
relation AS (
    SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relowner, c.relrowsecurity,
           c.relforcerowsecurity, c.reloptions
    FROM pg_class c JOIN ours n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
      AND NOT EXISTS (SELECT FROM of_extensions e
                      WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)),
may AS (
    SELECT DISTINCT c.oid, p.privilege, p.command
    FROM relation c CROSS JOIN me CROSS JOIN (VALUES
        ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd'),
        ('TRUNCATE', NULL), ('REFERENCES', NULL), ('TRIGGER', NULL)) p (privilege, command)
    WHERE has_table_privilege(me.oid, c.oid, p.privilege)
       OR CASE WHEN p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
               THEN has_any_column_privilege(me.oid, c.oid, p.privilege) END),
touched AS (
    SELECT c.* FROM relation c
    WHERE c.relkind IN ('r', 'p')
      AND EXISTS (SELECT FROM may m WHERE m.oid = c.oid AND m.command IS NOT NULL)),
policy AS (
    SELECT p.*, t.name AS table_name, format('%I on %s', p.polname, t.name) AS name,
           p.polroles && (SELECT array_agg(oid) || 0::oid FROM me) AS concerns_me,
           pg_get_expr(p.polqual, p.polrelid) AS visible,
           pg_get_expr(p.polwithcheck, p.polrelid) AS checked
    FROM pg_policy p JOIN touched t ON t.oid = p.polrelid),
uncovered AS (
    SELECT t.oid, m.privilege FROM touched t JOIN may m ON m.oid = t.oid
    WHERE m.command IS NOT NULL AND t.relrowsecurity
      AND NOT EXISTS (SELECT FROM policy p
                      WHERE p.polrelid = t.oid AND p.polpermissive AND p.concerns_me
                        AND p.polcmd::text IN ('*', m.command))))sql";

constexpr const char* findings = R"sql(,
routine AS (
    SELECT f.*, f.oid::regprocedure::text AS name
    FROM pg_proc f JOIN ours n ON n.oid = f.pronamespace
    WHERE NOT EXISTS (SELECT FROM of_extensions e
                      WHERE e.classid = 'pg_proc'::regclass AND e.objid = f.oid)),
-- Functions that policies call, and how often each is called, and how often as (SELECT f(…)).
called AS (
    SELECT p.name AS policy_name, f.oid AS callee, f.name,
           (SELECT count(*) FROM regexp_matches(b.text, '(?<![\w"])' || b.pattern || '\(', 'g')) AS calls,
           (SELECT count(*) FROM regexp_matches(b.text, '\( *SELECT ' || b.pattern || '\(', 'g')) AS wrapped
    FROM policy p
    JOIN pg_depend d ON d.classid = 'pg_policy'::regclass AND d.objid = p.oid AND d.refclassid = 'pg_proc'::regclass
    JOIN routine f ON f.oid = d.refobjid
    CROSS JOIN LATERAL (
        SELECT concat(p.visible, ' ', p.checked) AS text,
               regexp_replace(split_part(f.oid::regproc::text, '(', 1), '([.$"])', '\\\1', 'g') AS pattern) b
    WHERE f.provolatile <> 'i' OR f.prosecdef)
SELECT code, object, detail FROM (
    SELECT 'E01' AS code, t.name AS object, 'row-level security is disabled' AS detail
    FROM touched t WHERE NOT t.relrowsecurity
  UNION ALL
    SELECT 'E02', t.name, 'row-level security is not forced: its owner sees all'
    FROM touched t WHERE t.relrowsecurity AND NOT t.relforcerowsecurity
  UNION ALL
    SELECT 'E03', t.name, format('%s is granted and has no policy', u.privilege)
    FROM touched t JOIN uncovered u ON u.oid = t.oid
  UNION ALL
    SELECT 'E04', c.name, format('%s is granted: row-level security does not cover it', m.privilege)
    FROM relation c JOIN may m ON m.oid = c.oid
    WHERE c.relkind IN ('r', 'p') AND m.command IS NULL
  UNION ALL
    SELECT 'E05', c.name, 'the view reads with its owner''s rights: set security_invoker'
    FROM relation c
    WHERE c.relkind = 'v' AND EXISTS (SELECT FROM may m WHERE m.oid = c.oid AND m.command IS NOT NULL)
      AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions) o
                      WHERE o.option_name = 'security_invoker' AND o.option_value::boolean)
  UNION ALL
    SELECT 'E06', c.name, CASE c.relkind WHEN 'm' THEN 'a materialized view has no row-level security'
                                         ELSE 'a foreign table has no row-level security' END
    FROM relation c
    WHERE c.relkind IN ('m', 'f') AND EXISTS (SELECT FROM may m WHERE m.oid = c.oid AND m.command IS NOT NULL)
  UNION ALL
    SELECT 'E07', r.rolname, format('is %s', a.attribute)
    FROM me JOIN pg_roles r ON r.oid = me.oid
    CROSS JOIN LATERAL (VALUES ('SUPERUSER', r.rolsuper), ('BYPASSRLS', r.rolbypassrls),
        ('CREATEROLE', r.rolcreaterole), ('REPLICATION', r.rolreplication)) a (attribute, has)
    WHERE a.has
  UNION ALL
    SELECT 'E08', c.name, format('the role is, or can become, its owner "%s"', me.rolname)
    FROM relation c JOIN me ON me.oid = c.relowner
  UNION ALL
    SELECT 'E09', n.nspname, 'the role may create objects in this schema'
    FROM ours n WHERE EXISTS (SELECT FROM me WHERE has_schema_privilege(me.oid, n.oid, 'CREATE'))
  UNION ALL
    SELECT 'E09', current_database(), 'the role may create schemas in this database'
    WHERE EXISTS (SELECT FROM me WHERE has_database_privilege(me.oid, current_database(), 'CREATE'))
  UNION ALL
    SELECT 'E10', current_database(), 'the role may create temporary objects'
    WHERE EXISTS (SELECT FROM me WHERE has_database_privilege(me.oid, current_database(), 'TEMP'))
  UNION ALL
    SELECT 'E11', f.name, 'SECURITY DEFINER without a search_path of its own'
    FROM routine f
    WHERE f.prosecdef AND NOT EXISTS (SELECT FROM unnest(f.proconfig) s WHERE s LIKE 'search\_path=%')
  UNION ALL
    SELECT 'E12', f.name, 'LEAKPROOF, and neither PostgreSQL''s own nor an extension''s'
    FROM routine f WHERE f.proleakproof AND f.oid >= 16384
  UNION ALL
    SELECT 'W01', c.policy_name, format('%s is called for each row: write (SELECT …)', c.name)
    FROM called c WHERE c.calls > c.wrapped
  UNION ALL
    SELECT 'W01', p.name, 'current_setting is called for each row: write (SELECT …)'
    FROM policy p
    WHERE (SELECT count(*) FROM regexp_matches(concat(p.visible, ' ', p.checked), 'current_setting\(', 'g'))
        > (SELECT count(*) FROM regexp_matches(concat(p.visible, ' ', p.checked),
                                               '\( *SELECT [^()]*(\([^()]*)*current_setting\(', 'g'))
  UNION ALL
    SELECT 'W02', p.name, 'the policy is always true'
    FROM policy p WHERE p.concerns_me AND p.polpermissive AND 'true' IN (p.visible, p.checked)
  UNION ALL
    SELECT 'W03', p.name, 'the policy is for PUBLIC' FROM policy p WHERE p.polroles = '{0}'
  UNION ALL
    SELECT 'W04', p.table_name, format('%s permissive policies for %s', count(*), c.command)
    FROM policy p JOIN (VALUES ('SELECT', 'r'), ('INSERT', 'a'), ('UPDATE', 'w'), ('DELETE', 'd')) c (command, letter)
      ON p.polcmd::text IN ('*', c.letter)
    WHERE p.concerns_me AND p.polpermissive GROUP BY p.table_name, c.command HAVING count(*) > 1
  UNION ALL
    SELECT 'W05', f.name, 'PARALLEL SAFE, but bound to the backend: make it PARALLEL RESTRICTED'
    FROM routine f
    WHERE f.proparallel = 's' AND f.prosrc ~ '\m(pg_backend_pid|current_setting)\M'
      AND f.pronamespace IN (SELECT o.pronamespace FROM routine o JOIN called c ON c.callee = o.oid)
  UNION ALL
    SELECT 'W06', t.name, format('the foreign key %I has no index', k.conname)
    FROM touched t JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'f'
    WHERE NOT EXISTS (SELECT FROM pg_index i
                      WHERE i.indrelid = t.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = ANY (k.conkey))
  UNION ALL
    SELECT 'W07', t.name, format('the column %I looks like a secret and may be read', a.attname)
    FROM touched t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.attname ~* '(passw|secret|api_?key|private_?key|token)'
      AND EXISTS (SELECT FROM me WHERE has_column_privilege(me.oid, t.oid, a.attnum, 'SELECT'))
) AS found
ORDER BY code, object, detail
)sql";

constexpr const char* coverage = R"sql(
SELECT count(*), count(*) FILTER (WHERE t.relrowsecurity AND t.relforcerowsecurity
                                    AND NOT EXISTS (SELECT FROM uncovered u WHERE u.oid = t.oid))
FROM touched t
)sql";

}  // namespace

std::string audit_findings_sql() {
    return std::string{common_tables} + findings;
}

std::string audit_coverage_sql() {
    return std::string{common_tables} + coverage;
}

}  // namespace postern::cli
