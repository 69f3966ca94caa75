"""What a client believes its session to be follows it from server to server, and reaches nobody else."""

import pytest
from harness.waiting import eventually, until_one_waits
from harness.wire import Answer, bind, close, execute, flush, parse, query, sync
from harness.world import World

SCHEMA = """
CREATE TABLE t(a int);
INSERT INTO t VALUES (1);
CREATE SCHEMA one;
CREATE SCHEMA two;
CREATE TABLE one.place(a int);
CREATE TABLE two.place(a text, b int);
INSERT INTO one.place VALUES (1);
INSERT INTO two.place VALUES ('two', 2);
CREATE FUNCTION set_quietly(v text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('work_mem', v, false); END $$;
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


@pytest.fixture
def two(world):
    with world.client() as first, world.client() as second:
        yield first, second


def lent(world, client):
    """Whether a server can be had by one more client beside `client`, in pools of two."""
    return world.postern is None or world.postern.settings["pool"]["size"] > 1


# --- settings ---


@pytest.mark.parametrize("change", [
    "set work_mem = '9MB'", "set session work_mem = '9MB'",
    "select set_config('work_mem', '9MB', false)"])
def test_a_setting_follows_its_session_and_reaches_nobody_else(two, change):
    first, second = two
    before = second.value("show work_mem")
    first.run(change)
    for _ in range(4):
        assert first.value("show work_mem") == "9MB"
        assert second.value("show work_mem") == before
    first.run("reset work_mem")
    assert first.value("show work_mem") == before


def test_a_setting_through_bind_parameters_follows_its_session(two):
    first, second = two
    answer = first.prepared("select set_config($1, $2, false)", ["work_mem", "17MB"])
    assert answer.rows == [("17MB",)]
    for _ in range(3):
        assert second.value("show work_mem") != "17MB"
        assert first.value("show work_mem") == "17MB"


def test_settings_of_two_clients_do_not_mix(two):
    first, second = two
    first.run("set timezone = 'Asia/Tokyo'", "set datestyle = 'German'", "set my.name = 'first'")
    second.run("set timezone = 'America/Lima'", "set my.name = 'second'")
    for _ in range(4):
        assert first.value("show timezone") == "Asia/Tokyo"
        assert first.value("select current_setting('my.name')") == "first"
        assert first.value("select '2024-02-29'::date") == "29.02.2024"
        assert second.value("show timezone") == "America/Lima"
        assert second.value("select current_setting('my.name')") == "second"
        assert second.value("select '2024-02-29'::date") == "2024-02-29"


def test_rollback_undoes_a_setting_for_the_session_too(two):
    first, second = two
    first.run("set work_mem = '5MB'")
    first.run("begin", "set work_mem = '6MB'", "select 1")
    assert first.value("show work_mem") == "6MB"
    first.run("rollback")
    second.run("select 1")
    assert first.value("show work_mem") == "5MB"


def test_a_failed_transaction_undoes_its_settings(two):
    first, second = two
    first.run("set work_mem = '5MB'", "begin", "set work_mem = '6MB'")
    assert first.query("select 1/0").code == "22012"
    assert first.run("commit") == "ROLLBACK"
    second.run("select 1")
    assert first.value("show work_mem") == "5MB"


def test_rollback_to_a_savepoint_undoes_settings_made_after_it(two):
    first, second = two
    first.run("begin", "set work_mem = '5MB'", "savepoint s", "set work_mem = '6MB'",
              "rollback to s")
    assert first.value("show work_mem") == "5MB"
    first.run("commit")
    second.run("select 1")
    assert first.value("show work_mem") == "5MB"


def test_set_local_ends_with_its_transaction(two):
    first, second = two
    before = first.value("show work_mem")
    first.run("begin", "set local work_mem = '6MB'")
    assert first.value("show work_mem") == "6MB"
    first.run("commit")
    assert first.value("show work_mem") == before
    assert second.value("show work_mem") == before


def test_a_setting_among_several_statements_follows(two):
    first, second = two
    first.query("set work_mem = '5MB'; select 1")
    second.run("select 1")
    assert first.value("show work_mem") == "5MB"


def test_a_refused_setting_changes_nothing(two):
    first, second = two
    first.run("set work_mem = '5MB'")
    assert first.query("set work_mem = 'nonsense'").code == "22023"
    second.run("select 1")
    assert first.value("show work_mem") == "5MB"


def unnamed(sql):
    return parse("", sql) + bind("", "") + execute()


def test_a_setting_in_front_of_a_flush_follows_its_session(two):
    """What ran in front of a Flush takes effect with the Sync that ends its batch."""
    first, second = two
    first.send(unnamed("set work_mem = '9MB'"), flush())
    first.expect("1 2 C")
    first.send(sync())
    first.expect("Z")
    for _ in range(3):
        assert second.value("show work_mem") != "9MB"
        assert first.value("show work_mem") == "9MB"


def test_a_failed_batch_undoes_a_setting_in_front_of_a_flush(two):
    first, second = two
    before = first.value("show work_mem")
    first.send(unnamed("set work_mem = '9MB'"), flush())
    first.expect("1 2 C")
    first.send(unnamed("select 1/0"), sync())
    first.until("Z")
    for _ in range(3):
        assert second.value("show work_mem") == before
        assert first.value("show work_mem") == before


@pytest.mark.parametrize("sql", ["set work_mem = '9MB'", "select set_quietly('9MB')", "listen here"])
def test_a_batch_without_sync_leaves_nothing_behind_when_its_client_goes(world, sql):
    with world.client() as first:
        before = first.value("show work_mem")
        first.send(unnamed(sql), unnamed("commit"), flush())
        first.until("C")
        first.until("C")
    for _ in range(3):
        with world.client() as second:
            assert second.value("show work_mem") == before
            assert second.rows("select * from pg_listening_channels()") == []


def test_a_setting_changed_through_pg_settings_stays_with_its_session(two, world):
    first, second = two
    before = second.value("show work_mem")
    first.run("update pg_settings set setting = '9216' where name = 'work_mem'")
    assert first.value("show work_mem") == "9MB"
    if lent(world, first):
        assert second.value("show work_mem") == before
    first.close()
    for _ in range(3):
        with world.client() as third:
            assert third.value("show work_mem") == before


def test_a_null_through_set_config_means_the_default(two):
    first, second = two
    before = second.value("show work_mem")
    first.run("set work_mem = '9MB'")
    first.prepared("select set_config('work_mem', $1, false)", [None])
    second.run("select 1")
    assert first.value("show work_mem") == before


def test_a_setting_bound_by_an_earlier_request_stays_with_its_session(two, world):
    first, second = two
    before = second.value("show work_mem")
    first.run("begin")
    first.send(parse("", "select set_config($1, $2, false)"), bind("p", "", ["work_mem", "9MB"]),
               sync())
    first.until("Z")
    first.send(execute("p"), sync())
    first.until("Z")
    first.run("commit")
    assert first.value("show work_mem") == "9MB"
    if lent(world, first):
        assert second.value("show work_mem") == before
    first.close()
    for _ in range(3):
        with world.client() as third:
            assert third.value("show work_mem") == before


@pytest.mark.needs_postern
@pytest.mark.parametrize("sql", [
    "execute {name}", "deallocate {name}", "explain analyze execute {name}",
    "create table taken as execute {name}", "prepare {name} as select 1"])
def test_the_servers_own_statements_can_not_be_named_in_sql(two, sql):
    """They are shared by all sessions; whoever could name them could run or drop another's."""
    first, second = two
    first.send(parse("mine", "select 'mine'"), bind("", "mine"), execute(), sync())
    first.until("Z")
    for name in [f"postern_{number}" for number in range(1, 6)]:
        assert second.query(sql.format(name=name)).code in ("26000", "42939")
    for _ in range(2):
        first.send(bind("", "mine"), execute(), sync())
        assert Answer(first.until("Z")).rows == [("mine",)]


@pytest.mark.needs_postern
def test_sql_does_not_execute_a_protocol_statement_that_changes_settings(two):
    first, second = two
    first.send(parse("changes", "select set_config('work_mem', '9MB', false)"), sync())
    first.until("Z")
    assert first.query("execute changes").code == "0A000"
    assert second.value("show work_mem") != "9MB"
    first.run("deallocate changes")


def has_only_its_lent_server(world, console):
    """Ends the pool's idle servers; whether there were none, and none is logging in."""
    world.pg.run("select pg_terminate_backend(pid, 10000) from pg_stat_activity"
                 " where usename = 'app' and state = 'idle'")
    sv_login = 12
    coming = any(row[sv_login] != "0" for row in console.rows("show pools"))
    return not coming and all(row[3] != "idle" for row in console.rows("show servers"))


@pytest.mark.needs_postern
def test_new_defaults_reach_every_server_of_the_pool():
    """Answers of one pool must be alike, whichever server gave them."""
    sql = "select date '2024-02-29'"
    with World(SCHEMA, pool_size=2) as world, world.client() as old, world.client() as new:
        old.run("begin", "select now()")
        world.pg.run("alter role app set datestyle = 'German'")
        # A second server may be there already, or just be coming; it is to be a new one.
        with world.client(database="postern") as console:
            eventually(lambda: has_only_its_lent_server(world, console), "the old one's being alone")
        assert new.value("select current_setting('datestyle')") == "German, DMY"
        old.run("commit")
        for client in (old, new, old, new):
            assert client.value("select current_setting('datestyle')") == "German, DMY"
            assert client.value(sql) == "29.02.2024"


@pytest.mark.needs_postern
def test_what_runs_while_the_catalog_is_read_keeps_its_server_until_its_effect_is_known():
    with World(SCHEMA, pool_size=1) as world, world.client() as first, world.client() as second:
        first.run("select 1")
        with world.relay.hold_answer("pg_policy") as hold:
            first.run("create table made(a int)")
            hold.wait_answered()
            first.run("select count(*) from t")
            second.send(query("select count(*) from t"))
            until_one_waits(world)
        assert Answer(second.until("Z")).rows == [("1",)]
        with world.relay.hold_answer("pg_policy") as hold:
            first.run("drop table made")
            hold.wait_answered()
            first.run("select set_quietly('18MB')")
        assert first.value("show work_mem") == "18MB"
        first.close()
        assert second.value("show work_mem") != "18MB"


def test_a_setting_hidden_in_a_function_stays_with_its_session(two, world):
    first, second = two
    first.run("select set_quietly('18MB')")
    assert first.value("show work_mem") == "18MB"
    if lent(world, first):
        assert second.value("show work_mem") != "18MB"
    first.close()
    for _ in range(3):
        assert second.value("show work_mem") != "18MB"


def test_role_follows_its_session(two, world):
    first, second = two
    world.pg.run("GRANT alice TO app")
    first.run("set role alice")
    assert first.value("select current_user") == "alice"
    assert second.value("select current_user") == "app"
    assert first.value("select current_user") == "alice"
    first.run("reset role")
    assert first.value("select current_user") == "app"


def test_a_poisoned_default_does_not_reach_the_next_client(world):
    for change in ("set default_transaction_read_only = on", "set statement_timeout = '1ms'",
                   "set search_path = two"):
        with world.client() as client:
            client.run(change)
        with world.client() as client:
            assert client.value("show default_transaction_read_only") == "off"
            assert client.value("show statement_timeout") == "0"
            assert client.value("show search_path") == '"$user", public'


def test_discard_all_gives_the_startup_settings_back(world):
    with world.client(TimeZone="Asia/Tokyo") as client:
        client.run("set timezone = 'America/Lima'", "set work_mem = '5MB'", "discard all")
        assert client.value("show timezone") == "Asia/Tokyo"
        assert client.value("show work_mem") == "4MB"


def test_reset_all_gives_the_startup_settings_back(world):
    with world.client(TimeZone="Asia/Tokyo") as client:
        client.run("set timezone = 'America/Lima'", "reset all")
        assert client.value("show timezone") == "Asia/Tokyo"


def test_a_set_shows_in_parameter_status_once_it_is_accepted(two):
    first, _ = two
    first.run("set application_name = 'renamed'")
    assert first.parameters["application_name"] == "renamed"
    assert first.value("show application_name") == "renamed"


# --- prepared statements ---


def test_prepared_statements_of_one_name_belong_to_their_sessions(two):
    first, second = two
    first.send(parse("s", "select 'first'"), sync())
    first.expect("1 Z")
    second.send(parse("s", "select 'second'"), sync())
    second.expect("1 Z")
    for _ in range(3):
        for client, wanted in ((first, "first"), (second, "second")):
            client.send(bind("", "s"), execute(), sync())
            assert Answer(client.expect("2 D C Z")).rows == [(wanted,)]


def test_one_text_prepared_under_two_search_paths_reads_two_tables(two):
    first, second = two
    first.run("set search_path = one")
    second.run("set search_path = two")
    for client in two:
        client.send(parse("p", "select * from place"), sync())
        client.expect("1 Z")
    for _ in range(3):
        first.send(bind("", "p"), execute(), sync())
        assert Answer(first.expect("2 D C Z")).rows == [("1",)]
        second.send(bind("", "p"), execute(), sync())
        assert Answer(second.expect("2 D C Z")).rows == [("two", "2")]


def test_a_prepared_statement_means_another_table_under_another_search_path(two):
    """PostgreSQL refuses, as the columns are others now (0A000); Postern prepares it anew. Never the
    rows of the table before."""
    first, _ = two
    first.run("set search_path = one")
    first.send(parse("p", "select * from place"), bind("", "p"), execute(), sync())
    assert Answer(first.expect("1 2 D C Z")).rows == [("1",)]
    first.run("set search_path = two")
    first.send(bind("", "p"), execute(), sync())
    answer = Answer(first.until("Z"))
    assert answer.code == "0A000" or answer.rows == [("two", "2")]


def test_more_prepared_statements_than_a_server_keeps(world):
    with world.client() as client:
        count = 450
        for at in range(0, count, 50):
            client.send(*[parse(f"s{n}", f"select {n}") for n in range(at, at + 50)], sync())
            client.until("Z")
        client.send(*[part for n in range(count) for part in (bind("", f"s{n}"), execute())], sync())
        rows = Answer(client.until("Z")).rows
        assert rows == [(str(n),) for n in range(count)]


def test_a_statement_named_like_one_of_posterns_own(two, world):
    first, second = two
    first.send(parse("s", "select 'plain'"), bind("", "s"), execute(), sync())
    first.until("Z")
    own = [name for name, in world.pg.run(
        "select name from pg_stat_activity, pg_prepared_statements")] or ["postern_1", "p1", "S_1"]
    for name in own[:5]:
        second.send(parse(name, "select 'mine'"), bind("", name), execute(), close("S", name), sync())
        assert Answer(second.until("Z")).rows == [("mine",)]
    first.send(bind("", "s"), execute(), sync())
    assert Answer(first.until("Z")).rows == [("plain",)]


# --- what pins a session to its server ---


def test_a_temporary_table_stays_with_its_session(two, world):
    first, second = two
    first.run("create temp table mine(a int)", "insert into mine values (1)")
    for _ in range(3):
        assert first.value("select a from mine") == "1"
        if lent(world, first):
            assert second.query("select a from mine").code == "42P01"
    first.close()
    assert second.query("select a from mine").code == "42P01"
    second.run("create temp table mine(b text)", "discard all")


def test_a_temporary_table_shadows_for_its_session_alone(two, world):
    first, second = two
    assert first.value("select a from t") == "1"
    first.run("create temp table t(a text)", "insert into t values ('shadow')")
    for _ in range(3):
        assert first.value("select a from t") == "shadow"
        if lent(world, first):
            assert second.value("select a from t") == "1"
    first.run("drop table t")
    assert first.value("select a from t") == "1"
    assert second.value("select a from t") == "1" if lent(world, first) else True


def test_an_advisory_lock_is_held_until_it_is_unlocked(two, world):
    if not lent(world, two[0]):
        pytest.skip("needs a second server")
    first, second = two
    first.run("select pg_advisory_lock(99)")
    for _ in range(3):
        assert second.value("select pg_try_advisory_lock(99)") == "f"
        assert first.value("select 1") == "1"
    assert first.value("select pg_advisory_unlock(99)") == "t"
    assert second.value("select pg_try_advisory_lock(99)") == "t"
    assert second.value("select pg_advisory_unlock(99)") == "t"


def test_an_advisory_lock_goes_with_its_client(world):
    with world.client() as client:
        client.run("select pg_advisory_lock(98)")
    eventually(lambda: world.pg.value(
        "select count(*) from pg_locks where locktype = 'advisory' and objid = 98") == 0)


def test_a_cursor_with_hold_outlives_its_transaction(two):
    first, second = two
    first.run("begin", "declare h cursor with hold for select g from generate_series(1, 5) g",
              "commit")
    assert first.rows("fetch 2 from h") == [("1",), ("2",)]
    assert first.rows("fetch 2 from h") == [("3",), ("4",)]
    first.run("close h")
    assert second.query("fetch 1 from h").code == "34000"


def test_a_sql_prepared_statement_stays_with_its_session(two, world):
    first, second = two
    first.run("prepare mine as select 'mine'")
    for _ in range(3):
        assert first.value("execute mine") == "mine"
        if lent(world, first):
            assert second.query("execute mine").code == "26000"
    first.close()
    assert second.query("execute mine").code == "26000"


def test_listen_gets_what_others_notify(two, world):
    if not lent(world, two[0]):
        pytest.skip("needs a second server")
    first, second = two
    first.run("listen news")
    second.run("notify news, 'hello'")
    message = first.receive()
    assert message.tag == "A" and b"news\0hello\0" in message.body
    first.run("unlisten news")
    second.run("notify news, 'again'")
    assert first.silent(0.2)
    assert second.silent()


def test_listen_does_not_outlive_its_client(world):
    with world.client() as client:
        client.run("listen lost")
    with world.client() as client:
        client.run("notify lost, 'x'")
        assert client.silent(0.2)
        assert client.rows("select * from pg_listening_channels()") == []


def test_an_open_transaction_goes_with_its_client(world):
    client = world.client()
    client.run("begin", "insert into t values (77)")
    client.drop()
    with world.client() as other:
        assert other.value("select count(*) from t where a = 77") == "0"
        assert other.status == "I"


# --- the pool ---


def test_more_clients_than_servers(world):
    clients = [world.client() for _ in range(12)]
    for round_ in range(3):
        for number, client in enumerate(clients):
            client.send(query(f"select {number} + {round_}"))
        for number, client in enumerate(clients):
            assert Answer(client.until("Z")).rows == [(str(number + round_),)]
    for client in clients:
        client.close()


@pytest.mark.needs_postern
def test_no_more_servers_than_the_pools_size(world):
    clients = [world.client() for _ in range(8)]
    for client in clients:
        client.send(query("select pg_sleep(0.05), 'size'"))
    seen = world.pg.value(
        "select count(*) from pg_stat_activity where usename = 'app' and backend_type = 'client backend'")
    for client in clients:
        client.until("Z")
        client.close()
    assert seen <= world.postern.settings["pool"]["size"]


@pytest.mark.needs_postern
def test_a_burst_gets_every_server_of_the_pool_at_once():
    with World(pool_size=8, settings={"pool": {"wait_timeout": "3s"}}) as world:
        for _ in range(3):
            clients = [world.client() for _ in range(8)]
            for client in clients:
                client.run("begin")
                client.send(query("select now()"))
            for client in clients:
                assert not Answer(client.until("Z")).error
            for client in clients:
                client.run("commit")
                client.close()
            world.pg.run(
                "select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = 'app'")


@pytest.mark.needs_postern
def test_a_transaction_without_statements_needs_no_server(world):
    with world.relay.counting("") as passed, world.client() as client:
        before = passed()
        for _ in range(5):
            assert client.run("begin", "commit") == "COMMIT"
            assert client.run("start transaction", "rollback") == "ROLLBACK"
        assert passed() == before


# --- statements and DDL ---


def test_a_statement_prepared_anew_after_ddl_has_its_new_columns(two):
    first, second = two
    first.run("create table shape (a int)", "insert into shape values (1)")
    try:
        for client in two:
            client.send(parse("before", "select * from shape"), bind("", "before"), execute(), sync())
            assert Answer(client.until("Z")).rows == [("1",)]
        first.run("alter table shape add column b int default 2")
        for client in two:
            client.send(parse("after", "select * from shape"), bind("", "after"), execute(), sync())
            assert Answer(client.until("Z")).rows == [("1", "2")]
            client.send(close("S", "before"), close("S", "after"), sync())
            client.until("Z")
    finally:
        first.run("drop table shape")


@pytest.mark.needs_postern
@pytest.mark.parametrize("pool_size", [1, 2])
def test_a_statement_that_ddl_past_postern_has_broken_works_once_prepared_anew(pool_size):
    sql = "select *, now() > 'yesterday' from t"  # never from the cache
    settings = {"catalog": {"poll_interval": "10min"}}
    with World(SCHEMA, pool_size=pool_size, settings=settings) as world:
        with world.client() as first, world.client() as second:
            for client in (first, second):
                client.run("begin")  # so that each has a server of its own where there are two
                client.send(parse("s", sql), bind("", "s"), execute(), sync())
                assert Answer(client.until("Z")).rows == [("1", "t")]
                if pool_size == 1:
                    client.run("commit")
            for client in (first, second):
                if client.status != "I":
                    client.run("commit")
            world.pg.run("alter table t add b int default 2")
            first.send(bind("", "s"), execute(), sync())
            assert Answer(first.until("Z")).code == "0A000"
            for client in (first, second, first, second):
                client.send(close("S", "s"), parse("s", sql), bind("", "s"), execute(),
                            sync())
                assert Answer(client.until("Z")).rows == [("1", "2", "t")]


def test_literals_mean_what_the_session_that_prepares_them_says(two):
    first, second = two
    sql = "select extract(epoch from timestamptz '2024-01-01 00:00')::int"
    second.run("set timezone = 'Asia/Tokyo'")
    for _ in range(2):
        for client, wanted in ((first, "1704067200"), (second, "1704034800")):
            client.send(parse("s", sql), bind("", "s"), execute(), close("S", "s"), sync())
            assert Answer(client.until("Z")).rows == [(wanted,)]


def test_an_unnamed_statement_outlives_anothers_settings(two):
    first, second = two
    first.send(parse("", "select $1::int"), sync())
    first.until("Z")
    second.run("set application_name = 'other'")
    second.send(parse("s", "show application_name"), bind("", "s"), execute(), sync())
    assert Answer(second.until("Z")).rows == [("other",)]
    first.send(bind("", "", ["5"]), execute(), sync())
    assert Answer(first.until("Z")).rows == [("5",)]


def test_a_role_that_was_rolled_back_is_nobodys(two):
    first, second = two
    for text in ("begin; set work_mem = '9MB'; rollback", "set work_mem = '9MB'; rollback"):
        before = second.value("show work_mem")
        first.query(text)
        for _ in range(3):
            assert first.value("show work_mem") == before
            assert second.value("show work_mem") == before


def test_literals_under_set_local_are_nobody_elses(two):
    first, second = two
    sql = "select extract(epoch from timestamptz '2024-02-01 00:00')::int"
    for _ in range(2):
        first.run("begin", "set local timezone = 'Asia/Tokyo'")
        first.send(parse("s", sql), bind("", "s"), execute(), close("S", "s"), sync())
        assert Answer(first.until("Z")).rows == [("1706713200",)]
        first.run("commit")
        second.send(parse("s", sql), bind("", "s"), execute(), close("S", "s"), sync())
        assert Answer(second.until("Z")).rows == [("1706745600",)]
        first.send(parse("", "set timezone = 'Asia/Tokyo'"), bind("", ""), execute(),
                   parse("s", sql), bind("", "s"), execute(), close("S", "s"), sync())
        assert Answer(first.until("Z")).rows == [("1706713200",)]
        first.run("reset timezone")
