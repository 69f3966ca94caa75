"""An issue tracker's data for `policies`, made by the server itself out of hashes: the same on every run.

Users 1 to 4 are the ones that ask: members of 2, of 10 and of 500 projects, and an administrator. Everybody else is a member of some
ten. Who reports an issue, works on it or comments on it is a member of its project.
"""

import harness

USERS = 10_000
PROJECTS = 2_000
ISSUES = 500_000
SPRINTS = 10            # of a project
COMMENTED = 20          # of a project, one issue in so many has comments
COMMENTS = 12           # an issue that has any
SPREAD = 7919           # an issue's project: neighbours lie far apart
BACK = pow(SPREAD, -1, PROJECTS)
BREADTHS = {"2 projects": (1, 2), "10 projects": (2, 10), "500 projects": (3, 500), "administrator": (4, PROJECTS)}

ROWS = """
CREATE FUNCTION pg_temp.draw(of_row integer, seed integer, most integer) RETURNS integer LANGUAGE sql IMMUTABLE
    AS 'SELECT ((hashint4extended(of_row, seed) & 1073741823) % most)::integer';
CREATE FUNCTION pg_temp.texts(of_row integer, words integer) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT string_agg(substr(md5((of_row * 31 + w)::text), 1, 3 + w % 6), ' ') FROM generate_series(1, words) w $$;

INSERT INTO users SELECT u, 'user' || u || '@example.org', 'User ' || u, CASE u WHEN 4 THEN 'admin' ELSE 'user' END,
       'pbkdf2_sha256$600000$' || md5(u::text) || md5((-u)::text), true, '2024-01-08'
FROM generate_series(1, {users}) u;
INSERT INTO projects SELECT p, 'P' || p, 'Project ' || p, pg_temp.texts(p, 20), 5, '2024-01-08' FROM generate_series(1, {projects}) p;
INSERT INTO project_members
SELECT p, u, 'developer', '2024-01-08'::timestamptz FROM (VALUES (1, {projects} / 2), (2, {projects} / 10), (3, {projects} / 500)) AS asker (u, step),
       generate_series(step, {projects}, step) p
UNION
SELECT 1 + pg_temp.draw(u, k, {projects}), u, 'developer', '2024-01-08'::timestamptz FROM generate_series(5, {users}) u, generate_series(1, 10) k;
INSERT INTO sprints SELECT s, 1 + (s - 1) / {sprints}, 'Sprint ' || s, NULL, CASE s % {sprints} WHEN 0 THEN 'active' ELSE 'completed' END
FROM generate_series(1, {projects} * {sprints}) s;

CREATE TEMP TABLE team AS SELECT project_id, array_agg(user_id ORDER BY user_id) AS people FROM project_members GROUP BY 1;
INSERT INTO issues
SELECT i, t.project_id, CASE WHEN pg_temp.draw(i, 7, 10) < 7 THEN (t.project_id - 1) * {sprints} + 1 + pg_temp.draw(i, 1, {sprints}) END, 1 + i / {projects},
       pg_temp.texts(i, 8), pg_temp.texts(-i, 40),
       (ARRAY['open', 'in_progress', 'in_review', 'resolved', 'resolved', 'closed', 'closed', 'closed'])[1 + pg_temp.draw(i, 2, 8)],
       (ARRAY['low', 'medium', 'high', 'critical'])[1 + pg_temp.draw(i, 3, 4)], 'task', t.people[1 + pg_temp.draw(i, 4, cardinality(t.people))],
       CASE WHEN pg_temp.draw(i, 8, 5) > 0 THEN t.people[1 + pg_temp.draw(i, 5, cardinality(t.people))] END, pg_temp.draw(i, 9, 8), i, 1,
       '2024-01-08'::timestamptz + i * interval '2 minutes', '2024-01-08'::timestamptz + i * interval '3 minutes'
FROM generate_series(1, {issues}) i JOIN team t ON t.project_id = 1 + i::bigint * {spread} % {projects} ORDER BY i;
INSERT INTO comments (id, issue_id, author_id, body, created_at, updated_at, project_id)
SELECT c, i.id, t.people[1 + pg_temp.draw(c, 6, cardinality(t.people))], pg_temp.texts(c, 20), i.created_at + c % {comments} * interval '1 hour',
       i.updated_at, i.project_id
FROM generate_series(1, {comments} * {projects} * (({issues} / {projects} - 1) / {commented})) c
JOIN LATERAL (SELECT (c - 1) / {comments} AS n) k ON true
JOIN issues i ON i.id = {projects} * {commented} * (1 + k.n / {projects}) + k.n % {projects} JOIN team t USING (project_id) ORDER BY c;
"""


def schema(link):
    """The tracker as it is before the migrations, empty."""
    cursor = link.cursor()
    tracker = harness.ROOT / "deploy" / "tracker"
    cursor.execute("GRANT CREATE ON SCHEMA public TO tracker_owner; SET ROLE tracker_owner")
    for name in ("schema.sql", "indexes.sql", "rls.sql"):
        cursor.execute((tracker / name).read_text())
    cursor.execute("RESET ROLE")


def sizes(scale):
    """Issues shrink with the scale, not the projects: those are what policies are about."""
    return {
        "users": USERS, "projects": PROJECTS, "sprints": SPRINTS, "issues": max(50 * PROJECTS, int(ISSUES * scale)),
        "commented": COMMENTED, "comments": COMMENTS, "spread": SPREAD}


def fill(link, scale):
    """Into the migrated tables, past their triggers: search is not what is measured."""
    cursor = link.cursor()
    cursor.execute("SET session_replication_role = replica")
    for statement in ROWS.format(**sizes(scale)).split(";\n"):
        if statement.strip():
            cursor.execute(statement)
    cursor.execute("RESET session_replication_role")
    cursor.execute("DROP TABLE team")
