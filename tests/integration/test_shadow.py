"""Shadow mode: reads run a second time past views that show what policies will leave, and what is told of it.

The schema postern_shadow is made here by hand. Every test has shapes of its own, so that the first of each is
sampled, whatever the share.
"""

import re
import struct

import pytest
from harness.reads import mark_of, marked, warm
from harness.tables import table
from harness.waiting import eventually
from harness.wire import Answer, bind, describe, execute, parse, query, sync
from harness.world import World, both_ways

pytestmark = pytest.mark.needs_postern

SCHEMA = """
RESET ROLE;
CREATE TABLE issues(id int PRIMARY KEY, owner text, title text, secret text);
INSERT INTO issues SELECT g, (g % 3)::text, 'issue ' || g, 's' FROM generate_series(1, 30) g;
CREATE TABLE labels(id int PRIMARY KEY, name text);
INSERT INTO labels VALUES (1, 'one'), (2, 'two');
CREATE TABLE free(id int PRIMARY KEY);
INSERT INTO free VALUES (1);
CREATE SCHEMA postern_shadow;
CREATE VIEW postern_shadow.issues WITH (security_invoker = true) AS
    SELECT id, owner, title FROM public.issues WHERE owner = current_setting('app.user_id', true);
CREATE VIEW postern_shadow.labels WITH (security_invoker = true) AS SELECT * FROM public.labels;
GRANT ALL ON issues, labels, free TO app, alice, bob;
GRANT USAGE ON SCHEMA postern_shadow TO app, alice;
GRANT SELECT ON ALL TABLES IN SCHEMA postern_shadow TO app, alice;
CREATE ROLE shadow LOGIN PASSWORD 'shadow-secret' IN ROLE app, bob;
"""

SHADOW = {"user": "shadow", "password": "shadow-secret", "sample": 0}


def settings_of(**shadow):
    return {
        "databases": {"app": {"shadow": {**SHADOW, **shadow}}},
        "identity": {"variables": ["app.user_id"], "trust": {"client_set": True}},
    }


@pytest.fixture(scope="module")
def world():
    with World(SCHEMA, pool_size=3, settings=settings_of()) as made:
        yield made


@pytest.fixture
def client(world):
    with world.client() as one:
        one.run("set app.user_id = '1'")
        yield one


def rows(world, part=""):
    """Those of SHOW SHADOW whose statement holds `part`, by column."""
    with world.client(database="postern") as console:
        return [row for row in table(console.query("show shadow")) if part in row["statement"]]


def shape(sql):
    """A statement with a shape of its own. Names of columns are no part of one, those of CTEs are."""
    word = re.search(r" as ([a-z_]+)", sql)[1]
    return f"with {word} as ({sql}) select * from {word}"


def row_of(world, part, samples=1):
    """The one row of it, once it has been sampled as often."""
    def found():
        match = [row for row in rows(world, part) if int(row["samples"]) >= samples]
        assert len(match) <= 1, match
        return match and match[0]

    return eventually(found, f"a sample of {part}")


def verdicts(row):
    return {name: int(row[name])
            for name in ("same", "different", "qualified", "no_view", "errors") if int(row[name])}


def test_what_the_policies_will_change_is_told(world, client):
    wanted = client.rows(shape("select id, title as told from issues where id < 21"))
    assert len(wanted) == 20, "the client is shown what there is"
    row = row_of(world, "as told")
    assert verdicts(row) == {"different": 1}
    assert (row["rows_without"], row["rows_with"]) == ("20", "7")
    assert row["statement"] == "with told as (select id, title as told from issues where id < ?) select * from told"
    assert (row["database"], row["role"], row["relations"]) == ("app", "app", "issues")
    assert row["sqlstate"] is None


def test_what_they_will_not_change_is_the_same(world, client):
    client.rows(shape("select id as alike from issues where owner = '1' order by id desc limit 5"))
    client.rows(shape("select name as alike_too from labels"))
    assert verdicts(row_of(world, "as alike from")) == {"same": 1}
    assert verdicts(row_of(world, "as alike_too")) == {"same": 1}


def test_the_page_that_a_limit_leaves_differs_too(world, client):
    client.rows(shape("select id as page from issues order by id limit 3"))
    row = row_of(world, "as page")
    assert verdicts(row) == {"different": 1}
    assert (row["rows_without"], row["rows_with"]) == ("3", "3")


def test_a_statement_that_will_fail_says_where(world, client):
    client.rows(shape("select secret as lacking from issues"))
    row = row_of(world, "as lacking")
    assert verdicts(row) == {"errors": 1}
    assert row["sqlstate"] == "42703"
    assert row["error"].startswith("with the views: ") and "secret" in row["error"]


def test_words_that_may_hold_a_value_are_not_shown(world, client):
    client.query(shape("select id as broken from issues where title::int = 77"))
    row = row_of(world, "as broken")
    assert (row["sqlstate"], row["error"]) == ("22P02", "without the views")


def test_tables_with_their_schema_are_not_called_the_same(world, client):
    client.rows(shape("select id as far from public.issues"))
    client.rows(shape("select l.id as mixed from labels l join public.labels m using (id)"))
    client.rows(shape("select i.id as mixed_unlike from issues i join public.labels m using (id)"))
    assert verdicts(row_of(world, "as far")) == {"qualified": 1}
    assert verdicts(row_of(world, "as mixed from")) == {"qualified": 1}
    assert verdicts(row_of(world, "as mixed_unlike")) == {"different": 1}
    assert row_of(world, "as far")["relations"] == "public.issues"


def test_a_table_without_a_view_is_not_called_the_same(world, client):
    client.rows(shape("select id as bare from free"))
    assert verdicts(row_of(world, "as bare")) == {"no_view": 1}


@pytest.mark.parametrize("values, formats", [
    (["20", "1"], []),
    ([struct.pack("!i", 20), b"1"], [1]),
    ([struct.pack("!i", 20), "1"], [1, 0]),
], ids=["text", "binary", "mixed"])
def test_parameters_are_bound_as_they_came(world, client, values, formats):
    name = "bound_as" + "_one" * len(formats)
    sql = shape(f"select id as {name} from issues where id <= $1 and owner >= $2")
    for results in ([], [1]):
        client.send(parse("", sql, [23, 25]), bind("", "", values, formats, results), describe("P"),
                    execute(), sync())
        assert len(Answer(client.until("Z")).rows) == 14
    row = row_of(world, f"as {name}")
    assert verdicts(row) == {"different": 1}
    assert (row["rows_without"], row["rows_with"]) == ("14", "7")


def test_a_null_is_bound_as_null(world, client):
    client.send(parse("", shape("select id as nothing from labels where name is not distinct from $1")),
                bind("", "", [None]), execute(), sync())
    assert not Answer(client.until("Z")).error
    assert verdicts(row_of(world, "as nothing")) == {"same": 1}


def test_named_statements_are_sampled_too(world, client):
    client.send(parse("mine", shape("select id as named from issues where id < $1")), sync())
    assert not Answer(client.until("Z")).error
    client.send(bind("", "mine", ["4"]), execute(), sync())
    assert not Answer(client.until("Z")).error
    assert row_of(world, "as named")["rows_without"] == "3"


def test_the_time_does_not_differ(world, client):
    client.rows(shape("select id as timely, now() from labels where now() > '2000-01-01'"))
    assert verdicts(row_of(world, "as timely")) == {"same": 1}


def test_the_sessions_settings_are_worn(world, client):
    client.run("set timezone = 'Asia/Tokyo'; set datestyle = 'German, DMY'")
    client.rows(shape("select id as worn from labels where '31.12.2020'::date < now()"))
    assert verdicts(row_of(world, "as worn")) == {"same": 1}


def test_what_may_not_be_repeated_is_not_sampled(world, client):
    with world.client() as nobody:
        nobody.rows(shape("select id as not_nobody from issues"))
    client.rows(shape("select id as not_locked from issues for update"))
    client.rows(shape("select id as not_random, random() from issues"))
    client.rows(shape("select pg_advisory_xact_lock(1), id as not_function from labels"))
    client.rows(shape("select 1 as not_without"))
    client.rows(shape("select relname as not_catalog from pg_class"))
    client.run("begin", "insert into free values (100)")
    client.rows(shape("select id as not_written from free"))
    client.run("rollback", "begin", "set local search_path = public")
    client.rows(shape("select id as not_local from free"))
    client.run("rollback", "create temp table mine(id int)")
    eventually(world.postern.ready, "the catalog")
    client.rows(shape("select id as not_temporary from free"))
    client.run("drop table mine")
    eventually(world.postern.ready, "the catalog")
    with world.client() as other:
        other.run("set app.user_id = '1'")
        other.rows(shape("select id as the_last from labels"))
    row_of(world, "as the_last")
    assert not rows(world, "not_")


def test_a_read_in_a_clean_transaction_is_sampled(world, client):
    client.run("begin")
    client.rows(shape("select id as clean from labels"))
    client.run("commit")
    assert verdicts(row_of(world, "as clean")) == {"same": 1}


def test_cached_answers_are_sampled_too(world):
    with World(SCHEMA, settings=settings_of(sample=1)) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        sql = marked(shape("select id as cached from issues"))
        warm(other, client, sql)
        # The mark is a comment, which the sampler's own copies carry as well: count by verdicts.
        before = other.postern.metrics()['postern_statements_by_reason_total{reason="hit_near"}']
        seen = int(row_of(other, "as cached")["samples"])
        for _ in range(5):
            client.rows(sql)
        hits = other.postern.metrics()['postern_statements_by_reason_total{reason="hit_near"}'] - before
        assert hits == 5
        row = row_of(other, "as cached", seen + 5)
        assert int(row["different"]) == int(row["samples"])


def test_the_share_decides_once_a_shape_is_known(world, client):
    for _ in range(20):
        client.rows(shape("select id as seldom from labels"))
    client.rows(shape("select id as behind_them from labels"))
    row_of(world, "as behind_them")
    assert row_of(world, "as seldom")["samples"] == "1"


def test_one_warning_a_shape_and_no_values(world, client):
    for value in ("4711", "4712", "4713"):
        client.rows(shape(f"select id as warned from issues where id < {value}"))
    row_of(world, "as warned")
    lines = [line for line in world.postern.log_text(1 << 20).splitlines() if "as warned" in line]
    assert len(lines) == 1
    assert "database app: role app" in lines[0] and "471" not in lines[0]
    assert "30 rows without" in lines[0] and "10 with" in lines[0]


def test_a_role_that_can_not_be_taken_on_is_told(world):
    with world.client(user="alice", password="alice-secret") as alice:
        alice.run("set app.user_id = '1'")
        alice.rows(shape("select id as foreign_role from labels"))
        row = row_of(world, "as foreign_role")
        assert (row["role"], row["sqlstate"]) == ("alice", "42501")
        assert row["error"].startswith("SET ROLE alice")
        alice.rows(shape("select name as foreign_role_too from labels"))
        row_of(world, "as foreign_role_too")
    assert world.postern.log_text(1 << 20).count("SET ROLE alice") == 1


def test_a_role_that_may_not_use_the_views_is_told(world):
    with world.client(user="bob", password="bob-secret") as bob:
        bob.run("set app.user_id = '1'")
        bob.rows(shape("select id as unseen from labels"))
    row = row_of(world, "as unseen")
    assert (row["sqlstate"], row["error"]) == ("42501", "role bob has no USAGE on schema postern_shadow")


def test_concurrent_writes_are_no_difference(world, client):
    """Both runs see one snapshot: between them rows are added and deleted."""
    with world.relay.hold_statement("BEGIN ISOLATION LEVEL") as before:
        client.rows(shape("select id as snapshot from labels"))
        before.wait()
        hold = world.relay.hold_answer("as snapshot")
    with hold:
        hold.wait_answered()
        world.pg.run("INSERT INTO labels VALUES (99, 'new'); DELETE FROM labels WHERE id = 1")
    try:
        assert verdicts(row_of(world, "as snapshot")) == {"same": 1}
    finally:
        world.pg.run("DELETE FROM labels WHERE id = 99; INSERT INTO labels VALUES (1, 'one')")


def test_the_timeout_holds(world):
    with World(SCHEMA, settings=settings_of(statement_timeout="100ms")) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        client.rows(shape("select count(*) as slow from issues"))  # its catalog is read, its server connected
        row_of(other, "as slow")
        lock = other.pg.admin()
        lock.autocommit = False
        try:
            with lock.cursor() as cursor, other.relay.hold_statement("BEGIN ISOLATION LEVEL") as hold:
                client.rows(shape("select count(*) as locked from issues"))
                hold.wait()
                cursor.execute("LOCK TABLE issues IN ACCESS EXCLUSIVE MODE")
            row = row_of(other, "as locked")
        finally:
            lock.rollback()
            lock.autocommit = True
        assert (row["sqlstate"], row["error"]) == ("57014", "without the views")
        client.rows(shape("select count(*) as after_it from issues"))
        assert verdicts(row_of(other, "as after_it")) == {"different": 1}


def test_too_many_rows_end_a_sample(world):
    with World(SCHEMA, settings=settings_of(rows=10)) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        client.rows(shape("select id as many from issues"))
        row = row_of(other, "as many")
        assert (row["sqlstate"], row["error"]) == ("54000", "without the views: more than 10 rows")
        client.rows(shape("select id as few from issues where id < 5"))
        assert verdicts(row_of(other, "as few")) == {"different": 1}


def samplers(world):
    return [row[0] for row in world.pg.run("select pid from pg_stat_activity where usename = 'shadow'")]


def test_a_connection_that_is_killed_comes_back(world, client):
    client.rows(shape("select id as before_it from labels"))
    row_of(world, "as before_it")
    killed = samplers(world)
    assert len(killed) == 1
    world.pg.run("select pg_terminate_backend(%s)", killed[0])
    eventually(lambda: not samplers(world), "the sampler's end")
    client.rows(shape("select id as behind_it from labels"))
    assert verdicts(row_of(world, "as behind_it")) == {"same": 1}
    assert samplers(world) != killed


def test_a_full_queue_drops_and_counts(world):
    with World(SCHEMA, settings=settings_of(sample=1)) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        with other.relay.hold_statement("BEGIN ISOLATION LEVEL") as hold:
            client.rows(shape("select id as crowd from labels"))
            hold.wait()
            for _ in range(300):
                assert len(client.rows(shape("select id as crowd from labels"))) == 2
            assert other.postern.metrics()["postern_shadow_dropped_total"] == 44
        row = row_of(other, "as crowd", 257)
        assert (row["samples"], row["dropped"]) == ("257", "44")
        metrics = other.postern.metrics()
        assert metrics["postern_shadow_samples_total"] == metrics["postern_shadow_same_total"] == 257


def test_nothing_of_it_reaches_the_client(world):
    def script(client):
        client.send(query("set app.user_id = '1'"))
        client.until("Z")
        client.send(query(shape("select secret as silent from issues where id < 4 order by id")))
        client.until("Z")
        client.send(parse("", shape("select id as silent_too from issues where id < $1 order by id")),
                    bind("", "", ["9"]), describe("P"), execute(), sync())
        client.until("Z")

    both_ways(world, script, times=2)
    row_of(world, "as silent from")
    row_of(world, "as silent_too")


def reload(world, shadow):
    world.postern.settings["databases"]["app"].pop("shadow", None)
    if shadow:
        world.postern.settings["databases"]["app"]["shadow"] = shadow
    world.postern.write_configuration()
    with world.client(database="postern") as console:
        answer = console.query("reload")
        assert not answer.error, answer.error
    eventually(world.postern.ready, "the catalog")


def test_a_reload_turns_it_off_and_on(world):
    with World(SCHEMA, settings={**settings_of(), "databases": {}}) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        client.rows(shape("select id as reloaded from issues"))
        assert not rows(other) and not samplers(other)
        reload(other, SHADOW)
        client.rows(shape("select id as reloaded from issues"))
        row_of(other, "as reloaded")
        reload(other, None)
        eventually(lambda: not samplers(other), "the sampler's end")
        client.rows(shape("select id as then_off from issues"))
        assert not rows(other, "then_off") and rows(other, "reloaded"), "what was found stays"
        reload(other, SHADOW)
        assert not rows(other), "and goes when it is turned on anew"
        client.rows(shape("select id as reloaded from issues"))
        row_of(other, "as reloaded")


def test_a_pause_closes_its_connection(world):
    with World(SCHEMA, settings=settings_of()) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        client.rows(shape("select id as paused from issues"))
        row_of(other, "as paused")
        with other.client(database="postern") as console:
            assert not console.query("pause").error
            assert not samplers(other)
            assert not console.query("resume").error
        eventually(other.postern.ready, "the catalog")
        client.rows(shape("select id as resumed from issues"))
        assert verdicts(row_of(other, "as resumed")) == {"different": 1}


def test_it_ends_with_the_process_while_a_sample_runs(world):
    with World(SCHEMA, settings=settings_of(statement_timeout="1min")) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        with other.relay.hold_statement("BEGIN ISOLATION LEVEL") as hold:
            client.rows(shape("select id as ending from issues"))
            hold.wait()
            other.postern.stop()  # which fails when it takes half of that minute


def test_the_login_of_the_catalog_is_the_default():
    shadow = settings_of(user=None, password=None)
    shadow["databases"]["app"]["shadow"] = {"sample": 0}
    with World(SCHEMA + "GRANT app TO postern;", settings=shadow) as other, other.client() as client:
        client.run("set app.user_id = '1'")
        client.rows(shape("select id as by_default from issues"))
        assert verdicts(row_of(other, "as by_default")) == {"different": 1}
        assert re.search("as by_default", other.postern.log_text(1 << 20))
