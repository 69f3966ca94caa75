"""postern.search() on a million issues: how fast, how well, and what it costs those who write (`search`)."""

import contextlib
import csv
import json
import math
import pathlib
import random
import statistics
import subprocess
import time

import psycopg2

import harness
import search_data

KINDS = ("rare", "two terms", "common", "90 % word", "phrase", "prefix", "typo")
QUERIES = 20            # of each kind, for each breadth
LIKE_QUERIES = 1        # of each kind: they take seconds
KNOWN_ITEMS = 200
INSERTS = 2000          # comments a round
CSV = harness.ROOT.parent / "shared" / "data"
LIKE = """
SELECT i.id, i.title FROM issues i
WHERE (i.title ILIKE %(like)s OR i.description ILIKE %(like)s
       OR EXISTS (SELECT FROM comments c WHERE c.issue_id = i.id AND c.body ILIKE %(like)s))
ORDER BY i.created_at DESC LIMIT 20
"""
# The tracker's one policy on issues, and none on comments, before policies/ came.
EARLIER_POLICY = """
ALTER TABLE comments DISABLE ROW LEVEL SECURITY;
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT polname FROM pg_policy WHERE polrelid = 'issues'::regclass LOOP
        EXECUTE format('DROP POLICY %I ON issues', one.polname);
    END LOOP;
END
$$;
CREATE POLICY issues_visible ON issues FOR ALL TO tracker_app USING (
    project_id = ANY (ARRAY(
        SELECT pm.project_id FROM project_members pm
        WHERE pm.user_id = (SELECT nullif(current_setting('app.user_id', true), '')::int)))
    OR (SELECT u.role FROM users u
        WHERE u.id = (SELECT nullif(current_setting('app.user_id', true), '')::int)) = 'admin');
ALTER TABLE users DISABLE ROW LEVEL SECURITY;
ALTER TABLE project_members DISABLE ROW LEVEL SECURITY;
SET LOCAL ROLE tracker_app;
"""
SETTINGS = {
    "shared_buffers": "2GB", "maintenance_work_mem": "1GB", "max_wal_size": "4GB", "wal_level": "minimal", "max_wal_senders": 0,
    "port": 5432, "fsync": "off", "jit": "off", "autovacuum": "off"}


# ---- the database ---------------------------------------------------------------------------------


class Cluster:
    """A private PostgreSQL on a Unix socket in `folder`. What is in it stays when it ends, if the folder does."""

    def __init__(self, rig, folder):
        self.folder = pathlib.Path(folder).resolve()
        rig.kept_postgres(self.folder, SETTINGS)
        for _ in range(300):
            with contextlib.suppress(psycopg2.OperationalError):
                self.connect("postgres").close()
                return
            time.sleep(0.1)
        raise harness.Unusable("PostgreSQL did not start")

    def connect(self, database, user=harness.OWNER):
        link = psycopg2.connect(host=str(self.folder), dbname=database, user=user)
        link.autocommit = True
        return link

    def has(self, database):
        link = self.connect("postgres")
        with link.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
            return cursor.rowcount == 1

    def create(self, database, fill, program, fill_migrated=None):
        """A migrated database; made under another name first, so that one that is there is finished."""
        if self.has(database):
            return
        link = self.connect("postgres")
        cursor = link.cursor()
        cursor.execute("DROP DATABASE IF EXISTS unfinished")
        cursor.execute("CREATE DATABASE unfinished")
        for role in ("tracker_owner NOLOGIN", "tracker_app LOGIN"):
            with contextlib.suppress(psycopg2.errors.DuplicateObject):
                cursor.execute(f"CREATE ROLE {role}")
        filled = self.connect("unfinished")
        fill(filled)
        harness.say(f"{database}: migrating")
        done = subprocess.run(
            [program, "migrate", "up", "--database", f"host={self.folder} dbname=unfinished user={harness.OWNER}",
             "--migrations", harness.ROOT / "migrations", "--policies", harness.ROOT / "policies"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            raise harness.Unusable(f"postern migrate up: {done.stdout[-2000:]}")
        if fill_migrated:
            fill_migrated(filled)
        filled.cursor().execute("VACUUM ANALYZE")
        filled.close()
        cursor.execute(f"ALTER DATABASE unfinished RENAME TO {database}")


class Asker:
    """A connection of the application with one user's identity."""

    def __init__(self, link, user):
        self.cursor = link.cursor()
        self.cursor.execute("SELECT set_config('app.user_id', %s, false)", (str(user),))

    def search(self, query, limit=20):
        """Rows, and milliseconds."""
        begun = time.perf_counter()
        self.cursor.execute("SELECT * FROM postern.search(%s, '{}', %s, 0)", (query, limit))
        rows = self.cursor.fetchall()
        return rows, (time.perf_counter() - begun) * 1e3

    def like(self, words):
        """Milliseconds that LIKE takes for the words in one piece."""
        begun = time.perf_counter()
        self.cursor.execute(LIKE, {"like": f"%{words}%"})
        self.cursor.fetchall()
        return (time.perf_counter() - begun) * 1e3


def like_before(cluster, user, words):
    """The same under the policy that there was before the migrations; undone afterwards."""
    link = cluster.connect("tracker")
    with contextlib.closing(link):
        asker = Asker(link, user)
        asker.cursor.execute("BEGIN")
        asker.cursor.execute(EARLIER_POLICY)
        return asker.like(words)


# ---- latency --------------------------------------------------------------------------------------


def words_of(owner, share, count, rng):
    """Words that about this share of the issues have."""
    owner.execute(
        "WITH size AS (SELECT count(*) AS n FROM issues) SELECT lexeme FROM postern.search_term, size"
        " WHERE issues BETWEEN n * %s AND n * %s AND lexeme ~ '^[a-z]{6,}$' ORDER BY lexeme", (share * 0.7, share * 1.4))
    found = [word for word, in owner.fetchall()]
    if not found:
        raise harness.Unusable(f"no word is in {share:.1%} of the issues")
    return [found[rng.randrange(len(found))] for _ in range(count)]


def queries(owner):
    """Texts by kind, drawn with a fixed seed out of the data's own words."""
    rng = random.Random(search_data.SEED + 5)
    rare = words_of(owner, 0.001, 3 * QUERIES, rng)
    some = words_of(owner, 0.01, 2 * QUERIES, rng)
    owner.execute("SELECT title FROM issues WHERE id %% 997 = 3 ORDER BY id LIMIT %s", (QUERIES,))
    titles = [title.split() for title, in owner.fetchall()]
    return {
        "rare": rare[:QUERIES],
        "two terms": [f"{a} {b}" for a, b in zip(some[:QUERIES], some[QUERIES:])],
        "common": words_of(owner, 0.03, QUERIES, rng),
        "90 % word": [search_data.EVERYWHERE] * QUERIES,
        "phrase": [f'"{words[0]} {words[1]}"' for words in titles],
        "prefix": [word[:5] + "*" for word in rare[QUERIES:2 * QUERIES]],
        "typo": [word[:3] + word[4] + word[3] + word[5:] if word[3] != word[4] else word[:3] + word[4:] for word in rare[2 * QUERIES:]],
    }


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]


def latency_row(case, values, **more):
    return {"bench": "search", "case": case, "metric": "ms", "p50": round(quantile(values, 0.5), 1), "p95": round(quantile(values, 0.95), 1),
            "p99": round(quantile(values, 0.99), 1), "max": round(max(values), 1), "queries": len(values), **more}


def latencies(cluster, options):
    link = cluster.connect("tracker", "tracker_app")
    texts = queries(cluster.connect("tracker").cursor())
    every, before = [], []
    for breadth, user in search_data.BREADTHS.items():
        asker = Asker(link, user)
        asker.search("warm up")
        for kind in KINDS:
            answers = [asker.search(text) for text in texts[kind]]
            values = [spent for _, spent in answers]
            like = [] if options.without_like else [text.strip('"*') for text in texts[kind][:LIKE_QUERIES]]
            more = {}
            if like:
                earlier = [like_before(cluster, user, words) for words in like]
                before += earlier
                more = {"like_ms": round(statistics.median(earlier), 1), "like_after_ms": round(statistics.median(map(asker.like, like)), 1)}
            every += values
            yield latency_row(f"{breadth}, {kind}", values, **more, found=statistics.median(len(rows) for rows, _ in answers),
                              modes=sorted({row[9] for rows, _ in answers for row in rows[:1]}))
    more = {}
    if before:
        more = {"like_ms": round(statistics.median(before), 1), "ratio": round(statistics.median(before) / statistics.median(every), 1)}
    yield latency_row("all", every, **more)


# ---- relevance ------------------------------------------------------------------------------------


def relevance_row(case, found, relevant):
    """nDCG@10, MRR@10, recall@10 of lists of ids against sets of ids."""
    def gain(ids, good):
        return sum(1 / math.log2(place + 2) for place, one in enumerate(ids[:10]) if one in good)

    return {
        "bench": "search", "case": case, "metric": "relevance", "queries": len(found),
        "ndcg": round(statistics.mean(gain(ids, good) / gain(list(good), good) for ids, good in zip(found, relevant)), 3),
        "mrr": round(statistics.mean(next((1 / place for place, one in enumerate(ids[:10], 1) if one in good), 0)
                                     for ids, good in zip(found, relevant)), 3),
        "recall": round(statistics.mean(len(good & set(ids[:10])) / len(good) for ids, good in zip(found, relevant)), 3)}


def known_items(cluster, words):
    """The rarest words of a title, by an administrator; more issues may have them, one is meant."""
    owner = cluster.connect("tracker").cursor()
    owner.execute("SELECT id, title FROM issues WHERE id %% (SELECT greatest(1, max(id) / %s) FROM issues) = 0 ORDER BY id LIMIT %s",
                  (KNOWN_ITEMS, KNOWN_ITEMS))
    items = owner.fetchall()
    asker = Asker(cluster.connect("tracker", "tracker_app"), search_data.BREADTHS["administrator"])
    found = []
    for _, title in items:
        owner.execute(
            "SELECT w FROM unnest(string_to_array(%s, ' ')) w LEFT JOIN postern.search_term t"
            " ON t.lexeme = (tsvector_to_array(to_tsvector('english', w)))[1] ORDER BY coalesce(t.issues, 0), w LIMIT %s", (title, words))
        found.append([row[0] for row in asker.search(" ".join(word for word, in owner.fetchall()), 10)[0]])
    return relevance_row(f"known item, {words} words", found, [{one} for one, _ in items])


def fill_duplicates(link):
    """Hadoop's bug reports as one project's issues; `number` is the row in the file."""
    cursor = link.cursor()
    cursor.execute("GRANT CREATE ON SCHEMA public TO tracker_owner; SET ROLE tracker_owner")
    cursor.execute((search_data.TRACKER / "schema.sql").read_text())
    cursor.execute("RESET ROLE")
    cursor.execute("INSERT INTO users VALUES (4, 'a', 'a', 'admin', 'x', true, now());"
                   "INSERT INTO projects VALUES (1, 'H', 'H', NULL, 4, now())")
    for number, report in enumerate(reports(), 1):
        cursor.execute("INSERT INTO issues (id, project_id, number, title, description, reporter_id, created_at, updated_at)"
                       " VALUES (%s, 1, %s, %s, %s, 4, now(), now())", (number, number, report["Summary"], report["Description"]))
    cursor.execute("SET ROLE tracker_owner")
    cursor.execute((search_data.TRACKER / "indexes.sql").read_text())
    cursor.execute(search_data.EARLIER_POLICIES.read_text())
    cursor.execute("RESET ROLE")


def reports():
    csv.field_size_limit(1 << 24)
    with open(CSV / "hadoop_bugs.csv", newline="", encoding="utf-8", errors="replace") as file:
        return [{name: (value or "").replace("\0", "") for name, value in row.items() if name} for row in csv.DictReader(file)]


def duplicates(cluster):
    """A report's whole text finds its duplicates, beside itself."""
    rows = reports()
    numbers = {row["Issue id"]: number for number, row in enumerate(rows, 1)}
    relevant = {}
    with open(CSV / "hadoop_duplicates.csv", newline="", encoding="utf-8") as file:
        for pair in csv.DictReader(file):
            others = {numbers[one.strip()] for one in pair["Duplicate id"].split(",") if one.strip() in numbers}
            if others and pair["Issue id"] in numbers:
                relevant.setdefault(numbers[pair["Issue id"]], set()).update(others)
    asker = Asker(cluster.connect("hadoop", "tracker_app"), 4)
    found = []
    for number in relevant:
        text = rows[number - 1]["Summary"] + " " + rows[number - 1]["Description"]
        found.append([row[0] for row in asker.search(text, 11)[0] if row[0] != number])
    return relevance_row("Hadoop's duplicates", found, list(relevant.values()))


# ---- writing --------------------------------------------------------------------------------------


def insert_comments(cursor, count, rng, texts):
    """Milliseconds of each comment, in a transaction of its own."""
    spent = []
    for _ in range(count):
        values = (rng.randint(1, 1000), texts.text(*search_data.COMMENT_WORDS))
        begun = time.perf_counter()
        cursor.execute("INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES (%s, 5, %s, now(), now())", values)
        spent.append((time.perf_counter() - begun) * 1e3)
    return spent


def writing(cluster, options):
    """With the trigger and without, in turns, on a thousand issues; what folding costs afterwards."""
    cursor = cluster.connect("tracker").cursor()
    texts = search_data.Texts(search_data.SEED + 6)
    spent = {"ENABLE": [], "DISABLE": []}
    for _ in range(options.rounds):
        for way, rounds in spent.items():
            cursor.execute(f"ALTER TABLE comments {way} TRIGGER search_added")
            insert_comments(cursor, 100, texts.rng, texts)
            rounds.append(insert_comments(cursor, INSERTS, texts.rng, texts))
    cursor.execute("ALTER TABLE comments ENABLE TRIGGER search_added; SELECT count(*) FROM postern.search_pending")
    pending = cursor.fetchone()[0]
    middle = {way: [statistics.median(values) for values in rounds] for way, rounds in spent.items()}
    yield {"bench": "search", "case": "a comment", "metric": "ms",
           "with": round(statistics.median(middle["ENABLE"]), 4), "without": round(statistics.median(middle["DISABLE"]), 4),
           "ratio": round(statistics.median(a / b for a, b in zip(middle["ENABLE"], middle["DISABLE"])), 2),
           "comments": INSERTS * options.rounds}
    asker = Asker(cluster.connect("tracker", "tracker_app"), search_data.BREADTHS["10 projects"])
    yield latency_row(f"{pending} comments pending", [asker.search(text)[1] for text in queries(cursor)["rare"]])
    begun, folded, count = time.perf_counter(), 0, None
    while count != 0:
        cursor.execute("SELECT postern.search_fold()")
        count = cursor.fetchone()[0]
        folded += count
    yield {"bench": "search", "case": "folding", "metric": "ms", "an_issue": round((time.perf_counter() - begun) * 1e3 / max(1, folded), 3),
           "issues": folded, "comments": pending}
    cursor.execute("VACUUM postern.search_pending")
    cursor.execute("VACUUM postern.issue_search")


# ---- all of it ------------------------------------------------------------------------------------


def show(row, options):
    if options.json:
        print(json.dumps(row), flush=True)
    else:
        print(f"{row['case']:<36}" + "  ".join(f"{key} {value}" for key, value in row.items() if key not in ("bench", "case")), flush=True)


def search(options):
    with harness.Rig(options.build_folder) as rig:
        program = rig.program("postern")
        cluster = Cluster(rig, options.data_folder or rig.folder / "search")
        cluster.create("tracker", lambda link: search_data.load(link, options.scale), program)
        for row in latencies(cluster, options):
            show(row, options)
        for words in (2, 3):
            show(known_items(cluster, words), options)
        if (CSV / "hadoop_bugs.csv").exists():
            cluster.create("hadoop", fill_duplicates, program)
            show(duplicates(cluster), options)
        for row in writing(cluster, options):
            show(row, options)
