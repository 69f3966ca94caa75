"""Three users, row-level security, a pool of one server and the cache: no row in the wrong place.

Every row says whose it is, so that a row in the wrong place shows. The identity comes from the login,
from startup parameters or from the client's own SET.
"""

import random

import pytest
from harness.reads import mark_of, marked, warm
from harness.wire import (Answer, bind, close, copy_data, copy_done, describe, execute, flush, parse,
                          query, sync)
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = """
RESET ROLE;
CREATE TABLE projects(id int PRIMARY KEY, name text);
CREATE TABLE members(project_id int, user_id int, PRIMARY KEY (project_id, user_id));
CREATE TABLE issues(id int PRIMARY KEY, project_id int, title text);
CREATE TABLE lookup(id int PRIMARY KEY, name text);
CREATE TABLE checked(id int PRIMARY KEY, twin int REFERENCES checked DEFERRABLE INITIALLY DEFERRED);
INSERT INTO projects SELECT g, 'project ' || g FROM generate_series(1, 6) g;
INSERT INTO members VALUES (1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3);
INSERT INTO issues SELECT g, 1 + g % 6, 'issue ' || g FROM generate_series(0, 59) g;
INSERT INTO lookup VALUES (1, 'for all');
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE issues ENABLE ROW LEVEL SECURITY;
CREATE POLICY member ON projects USING (id IN (
    SELECT project_id FROM members
    WHERE user_id = nullif(current_setting('app.user_id', true), '')::int));
CREATE POLICY member ON issues USING (project_id IN (
    SELECT project_id FROM members
    WHERE user_id = nullif(current_setting('app.user_id', true), '')::int));
GRANT ALL ON projects, members, issues, lookup, checked TO app, alice, bob, carol;
"""

USERS = {"alice": "1", "bob": "2", "carol": "3"}
PROJECTS = {"1": {"1", "2"}, "2": {"3", "4"}, "3": {"5", "6"}}


def settings_of(source):
    identity = {"variables": ["app.user_id"]}
    if source == "by_login":
        identity["by_login"] = {name: {"app.user_id": number} for name, number in USERS.items()}
    elif source == "startup":
        identity["trust"] = {"startup_parameters": True}
    else:
        identity["trust"] = {"client_set": True}
    return {"identity": identity}


class Setting:
    """A world and how a user of it gets its identity."""

    def __init__(self, world, source):
        self.world = world
        self.postern = world.postern
        self.source = source

    def login(self, name):
        """A client with the identity of alice, bob or carol."""
        if self.source == "by_login":
            return self.world.client(user=name, password=f"{name}-secret")
        if self.source == "startup":
            return self.world.client(**{"app.user_id": USERS[name]})
        client = self.world.client()
        client.run(f"set app.user_id = '{USERS[name]}'")
        return client

    def nobody(self):
        """A client without an identity, on the same servers where that is possible."""
        return self.world.client()


@pytest.fixture(scope="module", params=["by_login", "startup", "client_set"])
def setting(request):
    with World(SCHEMA, pool_size=1, settings=settings_of(request.param)) as world:
        yield Setting(world, request.param)


@pytest.fixture
def three(setting):
    clients = {name: setting.login(name) for name in USERS}
    yield clients
    for client in clients.values():
        client.close()


def check_own(name, projects):
    assert set(projects) == PROJECTS[USERS[name]], f"{name} sees projects {sorted(set(projects))}"


def own_by_simple_query(client):
    return [row[0] for row in client.rows("select id from projects order by id")]


def own_issues(client):
    return [row[0] for row in client.rows("select distinct project_id from issues order by 1")]


def own_by_prepared(client):
    return [row[0] for row in client.prepared("select id from projects where id < $1", ["99"]).rows]


def own_by_named(client):
    client.send(parse("mine", "select id from projects where id < $1", [23]), describe("S", "mine"),
                bind("", "mine", ["99"]), execute(), close("S", "mine"), sync())
    return [row[0] for row in Answer(client.until("Z")).rows]


def own_in_a_transaction(client):
    client.run("begin")
    first = own_by_simple_query(client)
    second = own_issues(client)
    client.run("commit")
    assert first == second
    return first


def own_among_several(client):
    return [row[0] for row in client.rows("select 1 where false; select id from projects order by id")]


def own_in_a_pipeline(client):
    sql = "select id from projects where id < $1"
    client.send(*[part for _ in range(3)
                  for part in (parse("", sql, [23]), bind("", "", ["99"]), execute(), sync())])
    answers = [[row[0] for row in Answer(client.until("Z")).rows] for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    return answers[0]


def own_after_an_error(client):
    assert client.query("select 1/0").code == "22012"
    assert client.query("select nonsense from projects").code == "42703"
    return own_by_simple_query(client)


def own_after_a_failed_transaction(client):
    client.run("begin")
    own_by_simple_query(client)
    client.query("select 1/0")
    assert client.query("select id from projects").code == "25P02"
    client.run("rollback")
    return own_issues(client)


def own_by_copy(client):
    client.send(query("copy (select id from projects order by id) to stdout"))
    return [one.body.decode().strip() for one in client.until("Z") if one.tag == "d"]


def own_by_cursor(client):
    client.run("begin", "declare c cursor for select id from projects order by id")
    rows = client.rows("fetch 1 from c") + client.rows("fetch 5 from c")
    client.run("commit")
    return [row[0] for row in rows]


def own_after_a_setting(client):
    client.run("set work_mem = '6MB'")
    own = own_by_simple_query(client)
    client.run("reset work_mem")
    return own


def own_after_savepoints(client):
    client.run("begin", "savepoint a")
    own_by_simple_query(client)
    client.query("select 1/0")
    client.run("rollback to a")
    own = own_by_simple_query(client)
    client.run("rollback")
    return own


def own_under_repeatable_read(client):
    client.run("begin", "set transaction isolation level repeatable read")
    assert client.value("show transaction_isolation") == "repeatable read"
    own = own_by_simple_query(client)
    client.run("commit")
    return own


def own_after_commit_and_chain(client):
    client.run("begin")
    own_by_simple_query(client)
    client.run("commit and chain")
    own = own_by_simple_query(client)
    client.run("commit")
    return own


WAYS = [own_by_simple_query, own_issues, own_by_prepared, own_by_named, own_in_a_transaction,
        own_among_several, own_in_a_pipeline, own_after_an_error, own_after_a_failed_transaction,
        own_by_copy, own_by_cursor, own_after_a_setting, own_after_savepoints,
        own_under_repeatable_read, own_after_commit_and_chain]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_each_user_sees_its_own_rows_and_no_others(three, way):
    for _ in range(3):
        for name, client in three.items():
            check_own(name, way(client))


def test_interleaved_at_random(three):
    """Seeded; a failure repeats."""
    chance = random.Random(20240229)
    names = list(three)
    for _ in range(400):
        name = chance.choice(names)
        check_own(name, chance.choice(WAYS)(three[name]))


def test_all_at_once(three):
    """Sent by all before anything is read: the one server changes hands between their statements."""
    for _ in range(30):
        for client in three.values():
            client.send(query("select id from projects order by id"))
        for name, client in three.items():
            check_own(name, [row[0] for row in Answer(client.until("Z")).rows])


def test_hits_stay_with_their_user(setting, three):
    sql = marked("select id, name from projects order by id")
    for name, client in three.items():
        warm(setting.world, client, sql)
    with setting.world.relay.counting(mark_of(sql)) as passed:
        for _ in range(3):
            for name, client in three.items():
                check_own(name, [row[0] for row in client.rows(sql)])
        assert passed() == 0


def test_two_connections_of_one_user_share(setting, three):
    sql = marked("select id, name from projects order by id")
    wanted = warm(setting.world, three["bob"], sql).messages
    with setting.login("bob") as second, setting.world.relay.counting(mark_of(sql)) as passed:
        assert second.query(sql).messages == wanted
        assert passed() == 0


def test_tables_without_policies_are_shared_by_all(setting, three):
    if setting.source == "by_login":
        pytest.skip("three logins are three roles")
    sql = marked("select name from lookup")
    warm(setting.world, three["alice"], sql)
    with setting.world.relay.counting(mark_of(sql)) as passed:
        assert three["bob"].value(sql) == three["carol"].value(sql) == "for all"
        assert passed() == 0


def test_no_identity_sees_no_rows(setting, three):
    sql = marked("select id, name from projects order by id")
    for client in three.values():
        warm(setting.world, client, sql)
    for _ in range(3):
        with setting.nobody() as nobody:
            assert nobody.rows(sql) == []
            assert nobody.rows("select * from issues") == []
        for name, client in three.items():
            check_own(name, [row[0] for row in client.rows(sql)])


def test_nothing_of_an_identity_is_left_on_a_server(setting, three):
    for way in WAYS:
        for client in three.values():
            way(client)
    login = {"user": "alice", "password": "alice-secret"} if setting.source == "by_login" else {}
    if not login:
        with setting.world.client(**login) as nobody:
            for _ in range(4):
                assert nobody.value("select current_setting('app.user_id', true)") in (None, "")
                assert nobody.rows("select id from projects") == []
    # The server that the users shared says so too: nothing but what it started with.
    left = setting.world.pg.run(
        "select count(*) from pg_stat_activity where state like 'idle in%' and usename <> 'postgres'")
    assert left == [(0,)]


def test_the_injected_statement_never_shows(three):
    client = three["alice"]
    client.send(query("select id from projects order by id"))
    assert [one.tag for one in client.until("Z")] == ["T", "D", "D", "C", "Z"]
    client.send(parse("", "select id from projects order by id"), bind("", ""), execute(), sync())
    assert [one.tag for one in client.until("Z")] == ["1", "2", "D", "D", "C", "Z"]
    client.send(query("insert into lookup values (5, 'x'); delete from lookup where id = 5"))
    assert [one.tag for one in client.until("Z")] == ["C", "C", "Z"]
    client.send(query("syntax error"))
    assert [one.tag for one in client.until("Z")] == ["E", "Z"]
    client.send(query("begin"), query("select count(*) from projects"), query("commit"))
    tags = [one.tag for _ in range(3) for one in client.until("Z")]
    assert tags == ["C", "Z", "T", "D", "C", "Z", "C", "Z"]


def test_an_error_in_commit_leaves_the_identities_where_they_were(three):
    for _ in range(3):
        three["alice"].run("begin", "insert into checked values (1, 2)")
        assert three["alice"].query("commit").code == "23503"
        for name, client in three.items():
            check_own(name, own_by_simple_query(client))


def test_statements_that_refuse_a_transaction_run(setting, three):
    name = "alice"
    with setting.login(name) as client:
        answer = client.query("vacuum lookup")
        assert answer.code in (None, "42501") and answer.tags in (["VACUUM"], [])
        check_own(name, own_by_simple_query(client))


def test_a_cancel_leaves_the_identities_where_they_were(three):
    client = three["carol"]
    client.send(query("select pg_sleep(30) from projects"))
    assert client.silent(0.2)
    client.cancel()
    assert Answer(client.until("Z")).code == "57014"
    for name, one in three.items():
        check_own(name, own_by_simple_query(one))


def test_clients_that_vanish_leave_nothing_behind(setting, three):
    for message in (query("select pg_sleep(0.05) from projects"), query("select id from projects"),
                    parse("", "select id from projects") + bind("", ""), query("begin"),
                    query("begin; select id from projects")):
        for name in USERS:
            client = setting.login(name)
            client.send(message)
            client.drop()
            for other, one in three.items():
                check_own(other, own_issues(one))


def test_a_commit_inside_several_statements_does_not_lose_the_identity(three):
    """Injected anew or refused; never the rows of nobody shown as if there were none."""
    for name, client in three.items():
        answer = client.query("select 1 where false; commit; select id from projects order by id")
        if not answer.error:
            check_own(name, [row[0] for row in answer.rows])
        if client.status != "I":
            client.query("rollback")


def test_a_change_of_membership_is_seen_at_once(setting, three):
    """The policy reads members: a write there changes what a cached answer would be."""
    sql = marked("select id from projects order by id")
    for client in three.values():
        warm(setting.world, client, sql)
    three["alice"].run("insert into members values (3, 1)")
    assert [row[0] for row in three["alice"].rows(sql)] == ["1", "2", "3"]
    check_own("bob", [row[0] for row in three["bob"].rows(sql)])
    three["bob"].run("delete from members where project_id = 3 and user_id = 1")
    check_own("alice", [row[0] for row in three["alice"].rows(sql)])


def test_a_changed_policy_is_seen_at_once(setting, three):
    sql = marked("select id from projects order by id")
    for client in three.values():
        warm(setting.world, client, sql)
    setting.world.change_catalog("create policy more on projects for select using (id = 6)")
    assert [row[0] for row in three["alice"].rows(sql)] == ["1", "2", "6"]
    setting.world.change_catalog("drop policy more on projects")
    check_own("alice", [row[0] for row in three["alice"].rows(sql)])


def test_writes_are_bound_by_the_policy_too(three):
    assert three["alice"].run("update issues set title = title where project_id = 3") == "UPDATE 0"
    assert three["bob"].run("update issues set title = title where project_id = 3") == "UPDATE 10"
    assert three["alice"].query("insert into issues values (1000, 3, 'intruder')").code == "42501"


def test_copy_in_runs_under_the_identity(three):
    client = three["alice"]
    client.send(query("copy lookup from stdin"))
    client.until("G")
    client.send(copy_data("7\tseven\n"), copy_done())
    client.until("Z")
    assert client.value("select name from lookup where id = 7") == "seven"
    client.run("delete from lookup where id = 7")
    for name, one in three.items():
        check_own(name, own_by_simple_query(one))


@pytest.mark.parametrize("attempt", [
    "set app.user_id = '2'", "set local app.user_id = '2'", "set session app.user_id to '2'",
    'set "app"."user_id" = \'2\'', "SET APP.USER_ID = '2'", "reset app.user_id",
    "select set_config('app.user_id', '2', false)", "select set_config('APP.user_id', '2', true)"])
def test_a_client_that_is_not_trusted_can_not_change_its_identity(setting, three, attempt):
    if setting.source == "client_set":
        pytest.skip("here its own word counts")
    client = three["alice"]
    assert client.query(attempt).code == "42501"
    check_own("alice", own_by_simple_query(client))
    check_own("bob", own_by_simple_query(three["bob"]))


@pytest.mark.parametrize("attempt", [
    "select set_config('app.' || 'user_id', '2', true)",
    "select set_config(name, '2', true) from (values ('app.user_id')) v(name)",
    "select set_config('app.user_id', id::text, false) from lookup",
    "with x as (select set_config('app.user_id', '2', false)) select * from x",
    "prepare forged as select set_config('app.user_id', '2', true)",
    "update pg_settings set setting = '2' where name = 'app.user_id'",
    "execute postern_identity('2')",
    "explain analyze execute postern_identity('2')",
    "create table forged as execute postern_identity('2')"])
def test_an_identity_in_disguise_is_refused(setting, three, attempt):
    if setting.source == "client_set" and "postern_identity" not in attempt:
        pytest.skip("here its own word counts")
    alice = three["alice"]
    own_by_simple_query(three["bob"])
    alice.run("begin")
    assert alice.query(attempt).code in ("42501", "26000")
    alice.query("rollback")
    check_own("alice", own_by_simple_query(alice))


def test_a_forged_identity_of_the_extended_protocol_is_refused(setting, three):
    if setting.source == "client_set":
        pytest.skip("here its own word counts")
    alice = three["alice"]
    alice.send(parse("forge", "select set_config($1, $2, true)"), sync())
    alice.until("Z")
    for way in (bind("", "forge", ["app.user_id", "2"]) + execute() + sync(),
                bind("", "forge", ["APP.USER_ID", "2"]) + execute() + sync(),
                query("execute forge('app.user_id', '2')"),
                bind("", "postern_identity", ["2"]) + execute() + sync()):
        alice.run("begin")
        alice.send(way)
        assert Answer(alice.until("Z")).code in ("42501", "0A000", "26000")
        alice.query("rollback")
    check_own("alice", own_by_simple_query(alice))


def test_texts_that_can_not_be_read_are_refused(setting, three):
    if setting.source == "client_set":
        pytest.skip("here its own word counts")
    alice = three["alice"]
    alice.run("set standard_conforming_strings = off")
    assert alice.query(
        r"select '\'' ; select set_config($$app.user_id$$, $$2$$, false) --'").code == "0A000"
    with setting.login("alice") as again:
        check_own("alice", own_by_simple_query(again))


def test_a_portal_that_is_run_by_a_later_request_has_its_identity(three):
    for name, client in three.items():
        client.send(parse("", "select id from projects order by id"), bind("", ""), flush())
        client.expect("1 2")
        client.send(execute(), sync())
        check_own(name, [row[0] for row in Answer(client.until("Z")).rows])
        client.run("begin")
        client.send(parse("", "select id from projects order by id"), bind("p", ""), sync())
        client.until("Z")
        client.send(execute("p"), sync())
        check_own(name, [row[0] for row in Answer(client.until("Z")).rows])
        client.run("commit")


def test_startup_parameters_that_are_not_trusted_give_no_identity(setting):
    if setting.source == "startup":
        pytest.skip("here they count")
    for parameters in ({"app.user_id": "2"}, {"options": "-c app.user_id=2"}):
        try:
            with setting.world.client(**parameters) as client:
                assert client.rows("select id from projects") == []
        except Exception as refused:
            assert getattr(refused, "code", None) == "42501"


@pytest.mark.parametrize("before", [describe("S"), flush(), b""], ids=["describe", "flush", "portal"])
def test_a_trusted_set_that_reaches_a_server_does_not_stay_there(setting, before):
    """Not every way of setting the identity can be answered without a server."""
    if setting.source != "client_set":
        pytest.skip("only where the client's word counts")
    portal = "" if before else "p"
    with setting.world.client() as one, setting.world.client() as nobody:
        one.send(parse("", "select set_config('app.user_id', $1, false)"), before,
                 bind(portal, "", ["1"]), execute(portal), sync())
        assert Answer(one.until("Z")).rows == [("1",)]
        for _ in range(3):
            assert own_by_simple_query(nobody) == []
            check_own("alice", own_by_simple_query(one))


@pytest.mark.parametrize("undo", ["reset all", "rollback to s", "do $$ begin perform 1; end $$"])
@pytest.mark.parametrize("together", [False, True])
def test_what_undoes_settings_does_not_undo_the_identity(three, undo, together):
    for name, client in three.items():
        sql = marked("select id from projects order by id")
        client.run("begin", "savepoint s")
        check_own(name, own_by_simple_query(client))
        if together:
            client.send(parse("", undo), bind("", ""), execute(), parse("", sql), bind("", ""),
                        execute(), sync())
            seen = [row[0] for row in Answer(client.until("Z")).rows]
        else:
            client.run(undo)
            seen = [row[0] for row in client.rows(sql)]
        if name in ("alice", "bob", "carol") and seen:
            check_own(name, seen)
        client.run("commit")
        client.query("discard all")


def test_an_identity_that_is_reset_is_put_back(setting, three):
    if setting.source == "client_set":
        pytest.skip("there RESET ALL takes it away")
    for name, client in three.items():
        for way in ("reset all", "rollback to s"):
            client.run("begin", "savepoint s")
            check_own(name, own_by_simple_query(client))
            client.send(parse("", way), bind("", ""), execute(),
                        parse("", "select id from projects"), bind("", ""), execute(), sync())
            check_own(name, [row[0] for row in Answer(client.until("Z")).rows])
            client.run("commit")
            check_own(name, own_by_simple_query(client))


def test_a_forged_identity_in_a_portal_of_an_earlier_request_is_refused(setting, three):
    if setting.source == "client_set":
        pytest.skip("here its own word counts")
    alice = three["alice"]
    for text, values in (("select set_config('app.user_id', $1, true)", ["2"]),
                         ("select set_config($1, $2, true)", ["app.user_id", "2"])):
        alice.run("begin")
        alice.send(parse("f", text), parse("q", "select id from projects"), bind("p1", "f", values),
                   bind("p2", "q"), sync())
        alice.until("Z")
        alice.send(execute("p1"), execute("p2"), sync())
        answer = Answer(alice.until("Z"))
        assert answer.code == "42501" and answer.rows == []
        alice.run("rollback")
        alice.send(close("S", "f"), close("S", "q"), sync())
        alice.until("Z")


@pytest.mark.parametrize("way", ["local", "flush", "batch"])
def test_texts_behind_an_unsettled_change_of_reading_are_not_believed(setting, three, way):
    if setting.source == "client_set":
        pytest.skip("here its own word counts")
    alice = three["alice"]
    forged = r"select '\', ' , set_config($$app.user_id$$, $$2$$, true) --'"
    off = "set standard_conforming_strings = off"
    alice.run("begin")
    if way == "local":
        alice.run("set local standard_conforming_strings = off")
        alice.send(query(forged))
    elif way == "flush":
        alice.send(parse("", off), bind("", ""), execute(), flush())
        alice.expect("1 2 C")
        alice.send(parse("", forged), bind("", ""), execute(), sync())
    else:
        alice.send(parse("", off), bind("", ""), execute(), parse("", forged), bind("", ""), execute(),
                   sync())
    assert Answer(alice.until("Z")).code == "0A000"
    alice.query("rollback")
    check_own("alice", own_by_simple_query(alice))


def test_a_trusted_set_changes_the_identity_of_its_own_session_alone(setting):
    if setting.source != "client_set":
        pytest.skip("only where the client's word counts")
    with setting.world.client() as one, setting.world.client() as two:
        for number, name in (("1", "alice"), ("2", "bob"), ("3", "carol")):
            one.run(f"set app.user_id = '{number}'")
            check_own(name, own_by_simple_query(one))
            assert own_by_simple_query(two) == []
        one.prepared("select set_config($1, $2, false)", ["app.user_id", "1"])
        check_own("alice", own_by_simple_query(one))
        one.run("begin", "set local app.user_id = '2'")
        check_own("bob", own_by_simple_query(one))
        one.run("commit")
        check_own("alice", own_by_simple_query(one))
        one.run("begin", "set app.user_id = '3'")
        check_own("carol", own_by_simple_query(one))
        one.run("rollback")
        check_own("alice", own_by_simple_query(one))
        one.run("reset app.user_id")
        assert own_by_simple_query(one) == []


def test_a_transaction_changes_its_identity_midway(setting):
    """As backends do that set it first thing in every transaction."""
    if setting.source != "client_set":
        pytest.skip("only where the client's word counts")
    with setting.world.client() as one:
        for _ in range(3):
            for number, name in (("1", "alice"), ("2", "bob")):
                one.run("begin")
                assert one.prepared("select set_config('app.user_id', $1, true)", [number]).rows == [
                    (number,)]
                check_own(name, own_by_prepared(one))
                one.run("commit")
                assert own_by_prepared(one) == []


def test_a_failed_discard_breaks_no_server(three):
    alice = three["alice"]
    check_own("alice", own_by_simple_query(alice))
    for text in ("discard all", "deallocate all", "discard plans"):
        alice.run("begin", "select 1")
        alice.query("select 1/0")
        alice.query(text)
        alice.run("rollback")
        alice.run("begin", "select 1")
        alice.query(text)
        alice.query("rollback")
        for name, client in three.items():
            check_own(name, own_by_simple_query(client))


def test_ordinary_pipelines_are_not_refused(setting, three):
    setting.world.change_catalog(
        "create or replace function quiet(a int) returns int language plpgsql as"
        " $$ begin return a; end $$")
    alice = three["alice"]
    parts = [part for n in range(4) for part in (
        parse("", f"select quiet({n})"), bind("", ""), describe("P"), execute())]
    alice.send(*parts, sync())
    assert [row[0] for row in Answer(alice.until("Z")).rows] == ["0", "1", "2", "3"]
    alice.run("discard all")
