-- postern: lock_timeout=1s statement_timeout=30s retry=10 requires=0010 reversible=yes
-- What the columns with a fixed set of values may hold, what else they hold now, and what shall become of it. Changes no row.
--
-- Stop here (postern migrate up --to 0020) to look at postern_migration.bad_value and to edit postern_migration.value_map.

CREATE TABLE postern_migration.allowed_value (
    table_name    text NOT NULL,
    column_name   text NOT NULL,
    value         text NOT NULL,
    if_unknown    boolean NOT NULL DEFAULT false,   -- what a value becomes that nothing else is known of
    PRIMARY KEY (table_name, column_name, value)
);
INSERT INTO postern_migration.allowed_value VALUES
    ('users', 'role', 'user', true), ('users', 'role', 'manager', false), ('users', 'role', 'admin', false),
    ('project_members', 'role', 'developer', true), ('project_members', 'role', 'manager', false),
    ('sprints', 'status', 'planned', true), ('sprints', 'status', 'active', false), ('sprints', 'status', 'completed', false),
    ('issues', 'status', 'open', true), ('issues', 'status', 'in_progress', false), ('issues', 'status', 'in_review', false),
    ('issues', 'status', 'resolved', false), ('issues', 'status', 'closed', false),
    ('issues', 'priority', 'low', false), ('issues', 'priority', 'medium', true), ('issues', 'priority', 'high', false), ('issues', 'priority', 'critical', false),
    ('issues', 'issue_type', 'bug', false), ('issues', 'issue_type', 'feature', false), ('issues', 'issue_type', 'task', true),
    ('issues', 'issue_type', 'question', false);

-- Read before anything is guessed. from_value is compared with the value as it is, then with its folded form: lower case, no space
-- around it, spaces and hyphens as underscores. No row here makes anybody an administrator or a manager.
CREATE TABLE postern_migration.value_map (
    table_name  text NOT NULL,
    column_name text NOT NULL,
    from_value  text NOT NULL,
    to_value    text NOT NULL,
    rule        text NOT NULL DEFAULT 'mapped by hand',
    PRIMARY KEY (table_name, column_name, from_value),
    FOREIGN KEY (table_name, column_name, to_value) REFERENCES postern_migration.allowed_value
);
INSERT INTO postern_migration.value_map
SELECT 'issues', 'status', from_value, to_value, 'synonym' FROM (VALUES
    ('new', 'open'), ('todo', 'open'), ('to_do', 'open'), ('reopened', 'open'), ('backlog', 'open'),
    ('inprogress', 'in_progress'), ('wip', 'in_progress'), ('doing', 'in_progress'), ('started', 'in_progress'), ('assigned', 'in_progress'),
    ('inreview', 'in_review'), ('review', 'in_review'), ('testing', 'in_review'), ('qa', 'in_review'),
    ('fixed', 'resolved'), ('done', 'resolved'), ('solved', 'resolved'),
    ('wontfix', 'closed'), ('won''t_fix', 'closed'), ('wont_fix', 'closed'), ('invalid', 'closed'), ('duplicate', 'closed'),
    ('rejected', 'closed'), ('cancelled', 'closed'), ('canceled', 'closed')) AS known (from_value, to_value)
UNION ALL
SELECT 'issues', 'priority', from_value, to_value, 'synonym' FROM (VALUES
    ('p1', 'critical'), ('p2', 'high'), ('p3', 'medium'), ('p4', 'low'), ('p5', 'low'),
    ('blocker', 'critical'), ('urgent', 'critical'), ('highest', 'critical'), ('major', 'high'), ('normal', 'medium'),
    ('minor', 'low'), ('lowest', 'low'), ('trivial', 'low')) AS known (from_value, to_value)
UNION ALL
SELECT 'issues', 'issue_type', from_value, to_value, 'synonym' FROM (VALUES
    ('defect', 'bug'), ('error', 'bug'), ('enhancement', 'feature'), ('story', 'feature'), ('improvement', 'feature'),
    ('chore', 'task'), ('support', 'question')) AS known (from_value, to_value)
UNION ALL
SELECT 'sprints', 'status', from_value, to_value, 'synonym' FROM (VALUES
    ('future', 'planned'), ('open', 'active'), ('running', 'active'), ('current', 'active'),
    ('closed', 'completed'), ('done', 'completed'), ('finished', 'completed')) AS known (from_value, to_value);

-- The originals. pk is the row's key as text, its columns joined by commas.
CREATE TABLE postern_migration.quarantine (
    table_name  text NOT NULL,
    pk          text NOT NULL,
    column_name text NOT NULL,
    old_value   text NOT NULL,
    new_value   text NOT NULL,
    rule        text NOT NULL,
    migrated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (table_name, column_name, pk)
);

CREATE FUNCTION postern_migration.folded(value text) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$ SELECT regexp_replace(lower(btrim(value, E' \t\r\n')), '[\s-]+', '_', 'g') $$;

-- What one value becomes, and by which rule.
CREATE FUNCTION postern_migration.normalised(of_table text, of_column text, given text, OUT new_value text, OUT rule text)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT found.new_value, found.rule FROM (
        SELECT 1, m.to_value, m.rule FROM postern_migration.value_map m
        WHERE (m.table_name, m.column_name, m.from_value) = (of_table, of_column, given)
        UNION ALL
        SELECT 2, m.to_value, m.rule FROM postern_migration.value_map m
        WHERE (m.table_name, m.column_name, m.from_value) = (of_table, of_column, postern_migration.folded(given))
        UNION ALL
        SELECT 3, a.value, 'case and spacing' FROM postern_migration.allowed_value a
        WHERE (a.table_name, a.column_name, a.value) = (of_table, of_column, postern_migration.folded(given))
          AND (of_column <> 'role' OR a.if_unknown)   -- "Admin" was no administrator so far, and is not made one unasked
        UNION ALL
        SELECT 4, a.value, 'unknown' FROM postern_migration.allowed_value a
        WHERE (a.table_name, a.column_name) = (of_table, of_column) AND a.if_unknown
    ) AS found (preference, new_value, rule)
    ORDER BY found.preference LIMIT 1
$$;

-- The report: every value that its column may not hold, how often, where for instance, and what it would become.
CREATE VIEW postern_migration.bad_value AS
SELECT found.table_name, found.column_name, found.value, found.rows, found.examples, becomes.new_value, becomes.rule
FROM (
    SELECT 'users' AS table_name, 'role' AS column_name, role AS value, count(*) AS rows, (array_agg(id::text ORDER BY id))[1:5] AS examples
    FROM public.users GROUP BY role
    UNION ALL
    SELECT 'project_members', 'role', role, count(*), (array_agg(project_id || ',' || user_id ORDER BY project_id, user_id))[1:5]
    FROM public.project_members GROUP BY role
    UNION ALL
    SELECT 'sprints', 'status', status, count(*), (array_agg(id::text ORDER BY id))[1:5] FROM public.sprints GROUP BY status
    UNION ALL
    SELECT 'issues', 'status', status, count(*), (array_agg(id::text ORDER BY id))[1:5] FROM public.issues
    WHERE status NOT IN ('open', 'in_progress', 'in_review', 'resolved', 'closed') GROUP BY status
    UNION ALL
    SELECT 'issues', 'priority', priority, count(*), (array_agg(id::text ORDER BY id))[1:5] FROM public.issues
    WHERE priority NOT IN ('low', 'medium', 'high', 'critical') GROUP BY priority
    UNION ALL
    SELECT 'issues', 'issue_type', issue_type, count(*), (array_agg(id::text ORDER BY id))[1:5] FROM public.issues
    WHERE issue_type NOT IN ('bug', 'feature', 'task', 'question') GROUP BY issue_type
) AS found, LATERAL postern_migration.normalised(found.table_name, found.column_name, found.value) becomes
WHERE NOT EXISTS (SELECT FROM postern_migration.allowed_value a
                  WHERE (a.table_name, a.column_name, a.value) = (found.table_name, found.column_name, found.value));
