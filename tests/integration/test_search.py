"""postern.search() on the migrated issue tracker: what is found, in which order, and by whom.

Every test has words of its own, so that none finds what another has written. Users and projects are those of
harness/tracker.py.
"""

import json
import pathlib
import re
import subprocess
import threading

import psycopg2
import psycopg2.extras
import pytest
import yaml
from harness import tracker
from harness.reads import assert_hits, mark_of, marked, warm
from harness.relay import Relay
from harness.servers import PostgreSQL, Postern
from harness.waiting import eventually
from harness.world import DIRECT_ONLY
from harness import wire

ADMIN, MANAGER, MEMBER, OTHER, BOTH, STRANGER, FORMER = 1, 2, 3, 5, 6, 7, 8
PASSWORD = "tracker-secret"
README = pathlib.Path(__file__).resolve().parents[2] / "policies" / "README.md"


# What policies call.
IDENTITY = [{"name": f"postern.{name}", "reads": ["public.users", "public.projects", "public.project_members"], "cacheable": True}
            for name in ("user_id", "role", "is_admin", "project_ids", "managed_project_ids")]


def vouched():
    """The functions that README.md tells a DBA to vouch for."""
    text = README.read_text(encoding="utf-8")
    return yaml.safe_load(re.search(r"```yaml\n(functions:.*?)```", text[text.index("## Search"):], re.S)[1])["functions"]


class Tracker:
    """The migrated database, with connections of the application that carry an identity, and Postern before it."""

    def __init__(self):
        self.pg = PostgreSQL()
        self.links = {}
        self.relay = self.postern = None
        tracker.create(self.pg)
        self.pg.admin("tracker").close()
        self.pg.run("CREATE DATABASE again TEMPLATE tracker")
        tracker.migrate(self.pg, "up")
        self.number = 1000

    def as_user(self, user, statement_timeout=0):
        """A cursor of the application's login, whose transactions belong to `user`."""
        key = (user, statement_timeout)
        if key not in self.links:
            link = psycopg2.connect(
                host="127.0.0.1", port=self.pg.port, dbname="tracker", user="tracker_app", password=PASSWORD)
            link.autocommit = True
            with link.cursor() as cursor:
                cursor.execute("SELECT set_config('app.user_id', %s, false), set_config('statement_timeout', %s, false)",
                               ("" if user is None else str(user), str(statement_timeout)))
            self.links[key] = link
        return self.links[key].cursor(cursor_factory=psycopg2.extras.NamedTupleCursor)

    def search(self, query, user=ADMIN, limit=20, offset=0, **filters):
        with self.as_user(user) as cursor:
            cursor.execute("SELECT * FROM postern.search(%s, %s, %s, %s)", (query, json.dumps(filters), limit, offset))
            return cursor.fetchall()

    def found(self, query, user=ADMIN, **filters):
        return [row.issue_id for row in self.search(query, user, **filters)]

    def run(self, sql, *values):
        return self.pg.run(sql, *values, database="tracker")

    def issue(self, title, description=None, project=1, comments=(), **columns):
        """A new issue with its comments; its id."""
        self.number += 1
        columns = {"project_id": project, "number": self.number, "title": title, "description": description, "reporter_id": 3,
                   "created_at": "2026-01-01", "updated_at": "2026-01-01", **columns}
        (issue,), = self.run(
            f"INSERT INTO issues ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) RETURNING id", *columns.values())
        for body in comments:
            self.comment(issue, body)
        return issue

    def comment(self, issue, body):
        (comment,), = self.run(
            "INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES (%s, 3, %s, now(), now()) RETURNING id",
            issue, body)
        return comment

    def remove(self):
        for link in self.links.values():
            link.close()
        if self.postern:
            self.postern.remove()
            self.relay.end()
        self.pg.remove()


@pytest.fixture(scope="module")
def world():
    one = Tracker()
    yield one
    one.remove()


# What is found


def test_what_was_there_before_the_migrations_is_found(world):
    assert world.found("comment 17") and {row.matched_in for row in world.search("file17")} == {"attachment"}
    assert len(world.search("issue", limit=100)) == 60 or world.search("issue")[0].total >= 60


@pytest.mark.parametrize("query, expected", [
    ("zebra", "abcd"), ("zebra crossing", "ac"), ('"zebra crossing"', "a"), ('"crossing zebra"', "c"), ("zebra -crossing", "bd"),
    ('zebra -"zebra crossing"', "bcd"), ("zebras", "abcd"), ("zebr*", "abcd"), ("cross* zebra", "ac"), ("zebra -cross*", "bd"),
    ("crossing or stripes", "abc"), ("ZEBRA", "abcd"), ("the zebra", "abcd"), ("zebra*", "abcd"),
])
def test_the_language_of_queries(world, query, expected):
    if not hasattr(world, "zebras"):
        world.zebras = {
            world.issue("Zebra crossing is painted twice"): "a", world.issue("A zebra without a road", "stripes only"): "b",
            world.issue("Crossing zebra, at night"): "c", world.issue("Nothing here", comments=["but a zebra"]): "d"}
    assert "".join(sorted(world.zebras[one] for one in world.found(query))) == expected


def test_words_may_be_spread_over_title_description_comments_and_attachments(world):
    issue = world.issue("Quokka", "wombat", comments=["platypus"])
    world.run("INSERT INTO attachments (issue_id, uploader_id, filename, content_type, size_bytes, created_at)"
              " VALUES (%s, 3, 'echidna_trace-7.log', 'text/plain', 1, now())", issue)
    assert world.found("quokka wombat platypus echidna") == [issue]
    world.run("SELECT postern.search_fold()")
    assert world.found("quokka wombat platypus echidna") == [issue]


def test_what_is_excluded_may_be_in_a_comment_that_has_just_been_written(world):
    issue = world.issue("Heron", comments=["egret"])
    other = world.issue("Heron")
    for _ in ("pending", "folded"):
        assert world.found("heron -egret") == [other] and world.found("heron nonesuch -egre*") == [other] and world.found("hero* -egret") == [other]
        assert issue not in world.found("-egret") and other in world.found("-egret")
        world.run("SELECT postern.search_fold()")


def test_a_phrase_does_not_reach_over_the_seam_of_two_texts(world):
    issue = world.issue("Ends with alpaca", "vicuna begins", comments=["guanaco", "llama"])
    for _ in ("pending", "folded"):
        assert world.found("alpaca vicuna guanaco llama") == [issue]
        assert world.search('"alpaca vicuna"')[0].mode == "any"
        assert world.search('"guanaco llama"')[0].mode == "any" and world.search('"llama guanaco"')[0].mode == "any"
        world.run("SELECT postern.search_fold()")


def test_titles_come_before_descriptions_before_comments_before_attachments(world):
    """Each of the lower ones says the word as often as it likes, and is newer, to no avail."""
    often = " ".join(["marmot"] * 40)
    title = world.issue("One marmot among a number of other words that do not matter at all to anybody here")
    description = world.issue("Lower", "A single marmot")
    comment = world.issue("Lowest", comments=["marmot"])
    many_in_description = world.issue("Lower", often)
    many_in_comments = world.issue("Lowest", comments=[often, often])
    attachment = world.issue("Last")
    world.run("INSERT INTO attachments (issue_id, uploader_id, filename, content_type, size_bytes, created_at)"
              " VALUES (%s, 3, 'marmot.png', 'image/png', 1, now())", attachment)
    for _ in ("pending", "folded"):
        assert world.found("marmot") == [title, many_in_description, description, many_in_comments, comment, attachment]
        assert [row.matched_in for row in world.search("marmot")] == [
            "title", "description", "description", "comment", "comment", "attachment"]
        world.run("SELECT postern.search_fold()")


def test_weights_are_the_dbas(world):
    title = world.issue("Lemming")
    comment = world.issue("Other", comments=["lemming"])
    assert world.found("lemming") == [title, comment]
    world.run("UPDATE postern.search_setting SET value = 1.2 - value WHERE name IN ('weight_title', 'weight_comment')")
    try:
        assert world.found("lemming") == [comment, title]
    finally:
        world.run("UPDATE postern.search_setting SET value = 1.2 - value WHERE name IN ('weight_title', 'weight_comment')")


def test_a_long_query_finds_what_shares_rare_words_with_it(world):
    world.run("SELECT postern.search_count_terms()")
    near = world.issue("Ferret gets stuck in the tube", "the ferret is stuck between two tubes of the burrow since yesterday")
    world.issue("Something else", "yesterday")
    rows = world.search("A ferret of mine went down a tube and seems stuck: burrow, tunnel, whiskers, hammock, and yesterday")
    assert rows[0].issue_id == near and rows[0].mode == "any"


def test_snippets_show_where_it_was_found_and_are_safe_html(world):
    world.issue("Plain", "before <script>alert(1)</script> the pangolin & after")
    row, = world.search("pangolin")
    assert "<mark>pangolin</mark>" in row.snippet and "<script>" not in row.snippet and "&amp;" in row.snippet


# Filters, pages, totals


def test_filters(world):
    sprint, = [row[0] for row in world.run("SELECT min(id) FROM sprints WHERE project_id = 1")]
    a = world.issue("Tapir", status="open", priority="high", issue_type="bug", assignee_id=3, sprint_id=sprint, created_at="2026-03-01")
    b = world.issue("Tapir", status="closed", priority="low", issue_type="task", created_at="2026-04-01")
    c = world.issue("Tapir", project=2, status="open", priority="low", issue_type="bug", assignee_id=5, created_at="2026-05-01")
    for filters, expected in (
            ({}, {a, b, c}), ({"project": 1}, {a, b}), ({"project": [1, 2]}, {a, b, c}), ({"project": 3}, set()),
            ({"status": "open"}, {a, c}), ({"status": ["open", "closed"]}, {a, b, c}), ({"status": "open", "priority": "low"}, {c}),
            ({"type": "bug"}, {a, c}), ({"assignee": 3}, {a}), ({"assignee": None}, {b}), ({"sprint": sprint}, {a}), ({"sprint": None}, {b, c}),
            ({"created_from": "2026-04-01"}, {b, c}), ({"created_to": "2026-04-01"}, {a}),
            ({"created_from": "2026-03-15", "created_to": "2026-04-15T12:00:00Z"}, {b})):
        assert set(world.found("tapir", **filters)) == expected, filters
        assert set(world.found("tapir", OTHER, **filters)) == expected & {c}, filters


@pytest.mark.parametrize("filters, message", [
    ({"colour": "red"}, "colour"), ({"project": "one"}, "project"), ({"project": [1, None]}, "project"), ({"sprint": {"a": 1}}, "sprint"),
    ({"created_from": "yesterday"}, "created_from"), ({"created_to": None}, "created_to"),
])
def test_a_filter_that_is_not_understood_is_refused_with_its_name(world, filters, message):
    with pytest.raises(psycopg2.Error) as error:
        world.search("anything", **filters)
    assert message in str(error.value)


def test_pages_together_are_the_whole_in_its_order(world):
    wanted = [world.issue("Axolotl" + " axolotl" * (one % 3), "padding " * (one % 2)) for one in range(23)]
    whole = world.search("axolotl", limit=100)
    assert {row.issue_id for row in whole} == set(wanted) and {(row.total, row.total_is_exact) for row in whole} == {(23, True)}
    pages = [row.issue_id for offset in range(0, 30, 5) for row in world.search("axolotl", limit=5, offset=offset)]
    assert pages == [row.issue_id for row in whole]
    for limit, offset in ((100, 23), (100, 2**31 - 1), (1, 2**31 - 2)):
        assert world.search("axolotl", limit=limit, offset=offset) == []
    for limit, offset in ((0, 0), (101, 0), (5, -1)):
        with pytest.raises(psycopg2.Error):
            world.search("axolotl", limit=limit, offset=offset)


def test_a_total_beyond_the_candidates_is_said_not_to_be_exact(world):
    for _ in range(8):
        world.issue("Capybara")
    titled = world.issue("Capybara capybara")
    for _ in range(8):
        world.issue("Other", "capybara")
    world.run("UPDATE postern.search_setting SET value = 5 WHERE name = 'candidates'")
    try:
        rows = world.search("capybara")
        assert not rows[0].total_is_exact and rows[0].total >= 5
        assert rows[0].matched_in == "title", "titles are among the candidates, however old"
        assert titled in [row.issue_id for row in rows]
    finally:
        world.run("UPDATE postern.search_setting SET value = 1000 WHERE name = 'candidates'")


def test_a_search_works_where_the_planner_likes_parallel_plans(world):
    """Not even in the leader of one could it: the block that answers statement_timeout is a subtransaction."""
    issue = world.issue("Caracal")
    with world.as_user(MEMBER) as cursor:
        cursor.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET enable_indexscan = off;"
                       " SET enable_indexonlyscan = off; SET enable_bitmapscan = off; SET force_parallel_mode = on")
        try:
            cursor.execute("SELECT s.issue_id, count(*) FROM pg_catalog.pg_attribute a JOIN postern.search('caracal') s"
                           " ON a.attnum <> s.number AND a.attname <> s.title GROUP BY 1")
            assert [row.issue_id for row in cursor.fetchall()] == [issue]
        finally:
            cursor.execute("RESET ALL; SELECT set_config('app.user_id', %s, false)", (str(MEMBER),))


# Whose rows


def test_nobody_finds_what_they_may_not_see(world):
    one = world.issue("Okapi in project one", comments=["rhinoceros"])
    two = world.issue("Okapi in project two", project=2, comments=["rhinoceros"])
    three = world.issue("Okapi in project three", project=3, comments=["rhinoceros"])
    for user, expected in ((ADMIN, {one, two, three}), (MANAGER, {one}), (MEMBER, {one}), (OTHER, {two}), (BOTH, {one, two}),
                           (STRANGER, set()), (FORMER, set()), (None, set()), ("", set()), ("nonsense", set()), (99, set())):
        for query in ("okapi", "rhinoceros", "oka*", '"okapi in project"', "okapi -nothing", "okapi or rhinoceros", "-nothing", ""):
            rows = world.search(query, user)
            assert {row.issue_id for row in rows} & {one, two, three} == expected, (user, query)
            if query == "okapi":
                assert {row.total for row in rows} == ({len(expected)} if expected else set()), user
        for project in (1, 2, 3):
            assert set(world.found("okapi", user, project=project)) <= expected


def test_what_is_found_is_what_row_level_security_shows(world):
    for user in (ADMIN, MANAGER, MEMBER, OTHER, BOTH, STRANGER, FORMER, None):
        with world.as_user(user) as cursor:
            cursor.execute("SELECT id FROM issues WHERE to_tsvector('english', title) @@ 'issu'::tsquery")
            shown = {row.id for row in cursor.fetchall()}
        assert set(row.issue_id for row in world.search("issue", user, limit=100) if row.matched_in == "title") == shown, user


def past_triggers(world, sql, *values):
    """As replication and restoring do: no trigger fires."""
    world.run("SET session_replication_role = replica")
    try:
        world.run(sql, *values)
    finally:
        world.run("RESET session_replication_role")


def backfill(world):
    while world.run("SELECT postern.search_backfill(2000)") != [(0,)]:
        pass


def test_what_search_knows_of_an_issue_that_has_moved_behind_its_back_shows_it_to_nobody(world):
    issue = world.issue("Quagga sighted")
    world.run("SELECT postern.search_count_terms()")
    past_triggers(world, "UPDATE issues SET project_id = 2 WHERE id = %s", issue)
    for query in ("quagga", "quagg*", "quaggga", "quaggga sighted"):
        for user in (MEMBER, OTHER):
            rows = world.search(query, user)
            assert issue not in [row.issue_id for row in rows]
            assert not any(row.did_you_mean and "quagga" in row.did_you_mean.split() for row in rows)
    assert world.run("SELECT postern.search_spelling(%s, 'quagga', 'quagga'::tsquery)", issue) == [(None,)]
    assert tracker.migrate(world.pg, "verify", check=False).returncode == 1
    for statement in re.search(r"The cure:(.*?), and `", README.read_text(encoding="utf-8"), re.S)[1].strip().strip("`").split(";"):
        world.run(statement)
    backfill(world)
    assert world.found("quagga", OTHER) == [issue] and world.found("quagga", MEMBER) == []
    assert world.search("quaggga", OTHER)[0].did_you_mean == "quagga"
    tracker.migrate(world.pg, "verify")


def test_what_search_knows_of_a_deleted_issue_is_gone_with_the_next_of_its_id_or_backfill(world):
    gone, again = world.issue("Thylacine"), world.issue("Thylacine")
    past_triggers(world, "DELETE FROM issues WHERE id IN (%s, %s)", gone, again)
    assert world.found("thylacine") == []
    world.issue("Bilby", project=2, id=again)
    assert world.found("bilby", OTHER) == [again] and world.found("bilby", MEMBER) == world.found("thylacine") == []
    left = "SELECT count(*) FROM postern.issue_search WHERE issue_id = %s"
    assert world.run(left, gone) == [(1,)] and tracker.migrate(world.pg, "verify", check=False).returncode == 1
    backfill(world)
    assert world.run(left, gone) == [(0,)]
    tracker.migrate(world.pg, "verify")


def test_a_word_is_suggested_to_those_alone_who_can_find_it(world):
    hidden = world.issue("Chupacabra sighted", project=2)
    seen = world.issue("Chupakabrador sighted", project=1)
    world.run("SELECT postern.search_count_terms()")
    rows = world.search("chupacabrra", OTHER)
    assert [row.issue_id for row in rows] == [hidden] and rows[0].did_you_mean == "chupacabra" and rows[0].mode == "corrected"
    for user in (MEMBER, STRANGER, None):
        for query in ("chupacabrra", "chupacabra", "chupacabrra sighted"):
            for row in world.search(query, user):
                assert row.issue_id == seen or row.issue_id != hidden
                assert "chupacabra" not in (row.did_you_mean or "").split(), (user, query)


def test_scores_do_not_tell_how_many_hidden_issues_have_a_word(world):
    """What a word adds to a score changes in steps of two, and not at all between one issue and twenty."""
    world.issue("Numbat")
    world.run("SELECT postern.search_count_terms()")
    for counted, step in ((0, 16), (1, 16), (2, 16), (20, 16), (22, 16), (23, 32), (45, 32), (46, 64), (1000, 1024)):
        world.run("UPDATE postern.search_term SET issues = %s WHERE lexeme = 'numbat'", counted)
        (same,), = world.run(
            "SELECT abs(w.says - ln(1 + greatest(1, c.reltuples) / least(%s, greatest(16, power(2, round(ln(greatest(c.reltuples, 20)) / ln(2))))))) < 1e-6"
            " FROM postern.search_words('numbat') w, pg_class c WHERE c.oid = 'postern.issue_search'::regclass", step)
        assert same, counted


def test_a_suggestion_is_spelt_as_its_reader_has_seen_it(world):
    """Not by its stem, nor as a hidden project writes it."""
    world.issue("Bandicoots", project=2)
    world.issue("Bandicooting", project=1)
    world.run("SELECT postern.search_count_terms()")
    assert world.search("bandicoox", MEMBER)[0].did_you_mean == "bandicooting"
    assert world.search("bandicoox", OTHER)[0].did_you_mean == "bandicoots"


def test_the_application_reaches_nothing_but_the_search(world):
    for sql in ("SELECT * FROM postern.issue_search", "SELECT * FROM postern.search_pending", "SELECT * FROM postern.search_term",
                "SELECT * FROM postern.search_setting", "SELECT postern.search_fold()", "SELECT postern.search_count_terms()",
                "SELECT postern.search_matching('a', '', 1, 1, false, 10, now())", "SELECT postern.search_nearest('a', '')",
                "SELECT * FROM postern.search_source", "UPDATE postern.search_setting SET value = 1"):
        with world.as_user(ADMIN) as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(sql)


def test_a_role_with_the_grants_that_the_readme_names_may_fold(world):
    grants = re.search(r"`(GRANT USAGE ON SCHEMA postern[^`]*search_fold[^`]*)`", README.read_text(encoding="utf-8"))[1]
    world.run("CREATE ROLE folder")
    try:
        world.run(grants.replace("…", "folder"))
        world.run("SET ROLE folder")
        assert len(world.run("SELECT postern.search_fold()")) == 1
    finally:
        world.run("RESET ROLE")
        world.run("DROP OWNED BY folder")
        world.run("DROP ROLE folder")


def test_a_query_can_not_carry_sql(world):
    for text in ("'; DROP TABLE issues --", "' | 'a", "\\", "''", "a' & 'b", "(", "!", "&", "\x01", "%s", ":*", "a:*", "*", '"', "-", "x" * 300,
                 "-" * 200 + "a", "- " * 140 + "a", '"' * 101, '-"' * 100, "a or " * 60 + "b", "(" * 200, "!" * 200, "a* " * 90):
        world.search(text, MEMBER)
        world.search("issue", MEMBER, status=text)
    assert world.found("issue")


# Kept current


@pytest.mark.parametrize("folded", [False, True])
def test_every_change_is_seen_by_the_next_search(world, folded):
    word = "narwhal" if folded else "manatee"

    def now(expected, text=word):
        assert {row.issue_id for row in world.search(text, MEMBER) if row.mode == "all"} == set(expected), text
        if folded:
            world.run("SELECT postern.search_fold()")
            assert {row.issue_id for row in world.search(text, MEMBER) if row.mode == "all"} == set(expected), text

    issue, other = world.issue("Empty"), world.issue("Empty too")
    world.run("UPDATE issues SET title = %s WHERE id = %s", word, issue)
    now({issue})
    world.run("UPDATE issues SET project_id = 2 WHERE id = %s", issue)
    now({})
    world.run("UPDATE issues SET project_id = 1, title = 'x' WHERE id = %s", issue)
    now({})
    comment = world.comment(issue, f"a {word}")
    now({issue})
    world.run("UPDATE comments SET body = 'a dugong' WHERE id = %s", comment)
    now({})
    world.run("UPDATE comments SET body = %s WHERE id = %s", word, comment)
    now({issue})
    world.run("DELETE FROM comments WHERE id = %s", comment)
    now({})
    world.run("UPDATE issues SET title = %s WHERE id = %s", word, other)
    now({other})
    world.run("UPDATE issues SET title = 'x', description = %s WHERE id = %s", word, issue)
    now({issue, other})
    assert {row.issue_id for row in world.search(word, MEMBER, status="closed")} == set()
    world.run("UPDATE issues SET status = 'closed' WHERE id = %s", issue)
    assert {row.issue_id for row in world.search(word, MEMBER, status="closed")} == {issue}
    world.run("DELETE FROM issues WHERE id = %s", other)
    now({issue})
    world.run("INSERT INTO attachments (id, issue_id, uploader_id, filename, content_type, size_bytes, created_at)"
              " VALUES (%s, %s, 3, %s, 'text/plain', 1, now())", 7000 + folded, issue, f"{word}-beluga.txt")
    now({issue}, "beluga " + word)
    world.run("DELETE FROM attachments WHERE id = %s", 7000 + folded)
    now({}, "beluga " + word)
    world.run("DELETE FROM issues WHERE id = %s", issue)
    now({})


def test_what_is_rolled_back_is_not_found_and_what_is_not_committed_by_oneself_alone(world):
    issue = world.issue("Rolling")
    with world.as_user(MEMBER) as cursor:
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES (%s, 3, 'aardvark', now(), now())", (issue,))
        cursor.execute("SELECT issue_id FROM postern.search('aardvark')")
        assert [row.issue_id for row in cursor.fetchall()] == [issue]
        assert world.found("aardvark") == []
        cursor.execute("ROLLBACK")
    assert world.found("aardvark", MEMBER) == []


def test_two_who_edit_comments_of_one_issue_at_once_lose_nothing(world):
    issue = world.issue("Shared", comments=["first", "second"])
    one, two = [row[0] for row in world.run("SELECT id FROM comments WHERE issue_id = %s ORDER BY id", issue)]
    edit = "UPDATE comments SET body = %s WHERE id = %s"
    first = psycopg2.connect(world.pg.dsn("tracker", "postgres"))
    second = psycopg2.connect(world.pg.dsn("tracker", "postgres"))
    try:
        with first.cursor() as mine, second.cursor() as theirs:
            mine.execute(edit, ("anteater", one))
            pid = second.get_backend_pid()
            thread = threading.Thread(target=theirs.execute, args=(edit, ("armadillo", two)))
            thread.start()
            eventually(lambda: world.run("SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'", pid),
                       "the second editor's waiting")
            world.comment(issue, "pademelon")
            assert world.found("pademelon") == [issue], "a new comment waits for nobody"
            first.commit()
            thread.join(30)
            second.commit()
        assert world.found("anteater armadillo pademelon") == [issue]
    finally:
        first.close()
        second.close()


def test_a_deleted_project_takes_its_issues_along(world):
    world.run("INSERT INTO projects (id, key, name, owner_id, created_at) VALUES (50, 'P50', 'x', 1, now())")
    world.issue("Kinkajou", project=50, comments=["kinkajou"])
    assert len(world.found("kinkajou")) == 1
    world.run("DELETE FROM projects WHERE id = 50")
    assert world.found("kinkajou") == []
    assert world.run("SELECT count(*) FROM postern.search_pending p WHERE NOT EXISTS (SELECT FROM issues i WHERE i.id = p.issue_id)") == [(0,)]


def test_a_text_of_any_length_can_be_written(world):
    huge = " ".join(f"word{one}" for one in range(200_000))
    issue = world.issue("Huge " + "x" * 3000, huge, comments=[huge, "y" * 100_000])
    world.run("SELECT postern.search_fold()")
    assert world.found("huge word77 word99") == [issue]


def test_the_table_is_the_same_as_if_made_anew(world):
    world.run("SELECT postern.search_fold(1000000)")
    assert world.run(
        "SELECT count(*) FROM (TABLE postern.search_source EXCEPT TABLE postern.issue_search) x") == [(0,)]
    assert world.run("SELECT (SELECT count(*) FROM issues) - (SELECT count(*) FROM postern.issue_search)") == [(0,)]


# Limits


def test_when_the_time_is_up_the_newest_are_given_and_it_is_said(world):
    issues = [world.issue("Gecko") for _ in range(3)]
    world.run("UPDATE postern.search_setting SET value = 0 WHERE name = 'budget_ms'")
    try:
        rows = world.search("gecko", MEMBER)
        assert [row.issue_id for row in rows] == issues[::-1]
        assert {(row.mode, row.score, row.total_is_exact) for row in rows} == {("newest", None, False)}
    finally:
        world.run("UPDATE postern.search_setting SET value = 200 WHERE name = 'budget_ms'")


def test_statement_timeout_is_answered_with_the_newest(world):
    """A search that is held up until the session's limit strikes: by a table that somebody has locked."""
    issue = world.issue("Skink")
    link = psycopg2.connect(world.pg.dsn("tracker", "postgres"))
    try:
        with link.cursor() as cursor:
            cursor.execute("LOCK TABLE postern.search_term")
            with world.as_user(MEMBER, statement_timeout=1500) as impatient:
                impatient.execute("SELECT * FROM postern.search('skink')")
                rows = impatient.fetchall()
        assert [(row.issue_id, row.mode) for row in rows] == [(issue, "newest")]
    finally:
        link.close()


def test_a_cancelled_search_is_cancelled(world):
    link = psycopg2.connect(world.pg.dsn("tracker", "postgres"))
    try:
        with link.cursor() as cursor:
            cursor.execute("LOCK TABLE postern.search_term")
            waiting = psycopg2.connect(host="127.0.0.1", port=world.pg.port, dbname="tracker", user="tracker_app", password=PASSWORD)
            said = []

            def ask():
                try:
                    with waiting.cursor() as mine:
                        mine.execute("SELECT set_config('app.user_id', '1', false)")
                        mine.execute("SELECT * FROM postern.search('skink')")
                        said.append("answered")
                except psycopg2.errors.QueryCanceled:
                    said.append("cancelled")

            thread = threading.Thread(target=ask)
            thread.start()
            eventually(lambda: world.run("SELECT pid FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
                                         waiting.get_backend_pid()), "the search's waiting")
            waiting.cancel()
            thread.join(30)
        assert said == ["cancelled"]
    finally:
        link.close()


# Through Postern


@pytest.fixture(scope="module")
def proxied(world):
    """The same database behind Postern, with README.md's vouchers; a client's own SET is its identity. The triggers of other
    migrations are vouched for as well: they change no other table's rows."""
    others = [{"name": f"postern.{name}"} for name, in world.run(
        "SELECT DISTINCT p.proname FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid"
        " WHERE p.pronamespace = 'postern'::regnamespace AND p.proname NOT LIKE 'search%%' AND %s", True)]
    world.relay = Relay(world.pg.address)
    host, port = world.relay.address
    world.postern = Postern(world.relay.address, {
        "databases": {"tracker": {"host": host, "port": port, "service": {"user": "postern", "password": "postern-secret"}}},
        "users": {"tracker_app": {"auth": "scram", "password": PASSWORD}},
        "identity": {"variables": ["app.user_id"], "trust": {"client_set": True}},
    }, {"rules": [{"name": "everything", "ttl": "10min"}], "functions": vouched() + IDENTITY + others})
    return world


def proxied_client(world, user):
    client = wire.Client(world.postern.address, user="tracker_app", database="tracker", password=PASSWORD)
    client.run(f"SET app.user_id = '{user}'")
    return client


@pytest.mark.needs_postern
@pytest.mark.skipif(DIRECT_ONLY, reason="says something of Postern alone")
def test_a_search_is_cached_until_something_that_it_could_find_changes(proxied):
    issue = proxied.issue("Wolverine")
    sql = marked("SELECT issue_id FROM postern.search('wolverine or badgering')")
    beside = marked("SELECT count(*) FROM sprints")
    with proxied_client(proxied, MEMBER) as one, proxied_client(proxied, MEMBER) as writer:
        assert assert_hits(proxied, one, sql).rows == [(str(issue),)]
        assert_hits(proxied, one, beside)
        writer.run(f"UPDATE issues SET title = 'x wolverine' WHERE id = {issue}")
        other = proxied.issue("Unrelated")
        writer.run(f"INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES ({other}, 3, 'badgering', now(), now())")
        assert sorted(one.rows(sql)) == sorted([(str(issue),), (str(other),)])
        with proxied.relay.counting(mark_of(beside)) as passed:
            one.rows(beside)
            assert passed() == 0, "what the triggers write is vouched for: a comment does not empty the cache"


@pytest.mark.needs_postern
@pytest.mark.skipif(DIRECT_ONLY, reason="says something of Postern alone")
def test_two_users_never_share_a_cached_search(proxied):
    one, two = proxied.issue("Serval"), proxied.issue("Serval", project=2)
    sql = marked("SELECT issue_id FROM postern.search('serval')")
    with proxied_client(proxied, MEMBER) as member, proxied_client(proxied, OTHER) as other:
        assert warm(proxied, member, sql).rows == [(str(one),)]
        assert other.rows(sql) == [(str(two),)]
        assert assert_hits(proxied, other, sql).rows == [(str(two),)]
        assert assert_hits(proxied, member, sql).rows == [(str(one),)]


# The migrations


def schema(world, database):
    """The schema as pg_dump tells it, without the lines that are drawn anew each time."""
    done = subprocess.run(["pg_dump", "--schema-only", "--exclude-schema=postern_migration", world.pg.dsn(database, "postgres")],
                          check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("\\")]


def test_down_and_up_again(world):
    """In the database `again`: everything goes, the application works without it, and everything is back."""
    tracker.migrate(world.pg, "up", database="again")
    tracker.migrate(world.pg, "verify", database="again")
    once = schema(world, "again")
    before = max(int(path.name[:4]) for path in (tracker.ROOT / "migrations").glob("*.up.sql") if path.name < "0040")
    tracker.migrate(world.pg, "down", "--to", str(before), database="again")
    left = "SELECT count(*) FROM pg_class WHERE relnamespace = 'postern'::regnamespace AND relname ~ 'search'"
    assert world.pg.value(left, database="again") == 0
    assert world.pg.value("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'search%'", database="again") == 0
    world.pg.run("INSERT INTO comments (issue_id, author_id, body, created_at, updated_at) VALUES (1, 3, 'ocelot', now(), now())", database="again")
    tracker.migrate(world.pg, "up", database="again")
    tracker.migrate(world.pg, "verify", database="again")
    assert schema(world, "again") == once
    link = psycopg2.connect(host="127.0.0.1", port=world.pg.port, dbname="again", user="tracker_app", password=PASSWORD)
    try:
        with link.cursor() as cursor:
            cursor.execute("SELECT set_config('app.user_id', '1', false)")
            cursor.execute("SELECT issue_id FROM postern.search('ocelot')")
            assert cursor.fetchall() == [(1,)]
    finally:
        link.close()
