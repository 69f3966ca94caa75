"""What an operator makes a running Postern do: PAUSE, KILL, RECONNECT, SHUTDOWN and their like."""

import pytest
from harness.reads import assert_hits, marked
from harness.servers import Postern
from harness.tables import table
from harness.waiting import eventually
from harness.wire import Answer, Client, Refused, query
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = """
CREATE TABLE t(id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'one');
"""


@pytest.fixture(scope="module")
def world():
    with World(SCHEMA, settings={"admin": {"stats_users": ["alice"]}}) as one:
        second = {**one.postern.settings["databases"]["app"], "dbname": "postgres"}
        one.postern.settings["databases"]["second"] = second
        one.postern.stop()
        one.postern.write_configuration()
        one.postern.start()
        yield one


@pytest.fixture
def console(world):
    with world.client(database="postern") as one:
        yield one
        # Whatever a test that failed has left.
        for command in ("RESUME", "RESUME app", "ENABLE app"):
            one.query(command)


class Command:
    """A command under way, on a console of its own."""

    def __init__(self, world, command):
        self.console = world.client(database="postern")
        self.console.send(query(command))

    def waits(self):
        return self.console.silent()

    def answer(self):
        answer = Answer(self.console.until("Z"))
        self.console.close()
        return answer


def is_paused(console, database="app"):
    return any(row["paused"] == "1" for row in table(console.query("SHOW DATABASES"))
               if row["name"] == database)


def connections(world):
    """Of clients' servers and of Postern's own, at PostgreSQL."""
    return world.pg.value(
        "select count(*) from pg_stat_activity where datname = 'app' and usename <> 'postgres'")


def paused(world, command="PAUSE app"):
    """PAUSE while nothing keeps it waiting."""
    assert Command(world, command).answer().tags == [command.split()[0]]
    eventually(lambda: connections(world) == 0, "PostgreSQL's being left alone")


def client_named(console, name):
    return next(row for row in table(console.query("SHOW CLIENTS"))
                if row["application_name"] == name)


def test_pause_lets_transactions_end_and_holds_back_what_follows(world, console):
    with world.client() as first, world.client() as second:
        first.run("begin", "update t set v = 'uno' where id = 1")
        pause = Command(world, "PAUSE app")
        eventually(lambda: is_paused(console), "the pause")
        second.send(query("select v from t where id = 1"))
        assert pause.waits() and second.silent()
        assert first.run("commit") == "COMMIT"
        assert pause.answer().tags == ["PAUSE"]
        eventually(lambda: connections(world) == 0, "PostgreSQL's being left alone")
        with world.client() as third:
            third.send(query("select 3"))
            assert third.silent() and second.silent()
            assert console.run("RESUME app") == "RESUME"
            assert Answer(third.until()).rows == [("3",)]
            assert Answer(second.until()).rows == [("uno",)]


def test_a_restart_during_a_pause_is_noticed_by_nobody(world, console):
    with world.client() as client:
        client.run("select 1")
        paused(world, "PAUSE")
        assert table(console.query("SHOW STATE"))[0] == {"key": "active", "value": "no"}
        client.send(query("select 2"))
        world.pg.stop()
        world.pg.start()
        assert world.postern.ready()
        assert console.run("RESUME") == "RESUME"
        assert Answer(client.until()).rows == [("2",)]
        eventually(world.postern.ready, "the catalog's being read again")


def test_nothing_cached_is_served_during_a_pause_nor_from_before_it(world, console):
    sql = marked("select v from t where id = 1")
    world.pg.run("update t set v = 'before' where id = 1")
    console.run("FLUSH")
    with world.client() as client:
        assert assert_hits(world, client, sql).rows == [("before",)]
        paused(world)
        world.pg.run("update t set v = 'during' where id = 1")
        client.send(query(sql))
        assert client.silent()
        console.run("RESUME app")
        assert Answer(client.until()).rows == [("during",)]
        assert assert_hits(world, client, sql).rows == [("during",)]


def test_a_pause_of_one_database_leaves_the_others_running(world, console):
    with world.client(database="second") as client:
        client.run("select 1")
        assert console.run("PAUSE app") == "PAUSE"
        assert is_paused(console) and not is_paused(console, "second")
        assert client.value("select 2") == "2"
        assert console.query("RESUME").code == "55000"  # that of all is another
        assert console.run("RESUME app") == "RESUME"


def test_a_pause_outlives_the_console_that_asked_for_it(world, console):
    with world.client() as client:
        client.run("begin", "select 1")
        pause = Command(world, "PAUSE app")
        eventually(lambda: is_paused(console), "the pause")
        pause.console.drop()
        client.run("commit")
        eventually(lambda: connections(world) == 0, "PostgreSQL's being left alone")
        assert is_paused(console)
        assert console.run("RESUME app") == "RESUME"
        client.run("select 1")


def test_a_cancelled_pause_is_undone(world, console):
    with world.client() as client:
        client.run("begin", "select 1")
        pause = Command(world, "PAUSE app")
        eventually(lambda: is_paused(console), "the pause")
        pause.console.cancel()
        assert pause.answer().code == "57014"
        assert not is_paused(console)
        client.run("commit", "select 1")


def test_a_resume_ends_a_pause_that_still_waits(world, console):
    with world.client() as client:
        client.run("begin", "select 1")
        pause = Command(world, "PAUSE app")
        eventually(lambda: is_paused(console), "the pause")
        console.run("RESUME app")
        assert "resumed" in pause.answer().error["M"]
        client.run("commit")


def test_pause_in_the_extended_protocol_acts_once(world, console):
    assert console.prepared("PAUSE app").tags == ["PAUSE"]
    assert is_paused(console)
    assert console.prepared("RESUME app").tags == ["RESUME"]


def test_kill_ends_every_client_and_undoes_what_they_were_doing(world, console):
    idle, writing, running = world.client(), world.client(), world.client()
    idle.run("select 1")
    writing.run("begin", "insert into t values (2, 'two')")
    running.send(query("select pg_sleep(600)"))
    eventually(lambda: world.pg.value(
        "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%'"
        " and state = 'active' and pid <> pg_backend_pid()"), "the statement")
    assert Command(world, "KILL app").answer().tags == ["KILL"]
    for one in (idle, writing, running):
        assert one.receive().tag == "E"
        assert one.gone()
        one.drop()
    eventually(lambda: connections(world) == 0, "PostgreSQL's being left alone")
    assert is_paused(console)
    with world.client() as late:
        late.send(query("select count(*) from t where id = 2"))
        assert late.silent()
        console.run("RESUME app")
        assert Answer(late.until()).rows == [("0",)]


def test_kill_client_ends_one_and_no_other(world, console):
    with world.client(application_name="stays") as stays:
        goes = world.client(application_name="goes")
        goes.run("begin", "select 1")
        pointer = client_named(console, "goes")["ptr"]
        assert console.run(f"KILL_CLIENT {pointer}") == "KILL_CLIENT"
        assert goes.receive().tag == "E"
        assert goes.gone()
        goes.drop()
        stays.run("select 1")
        eventually(lambda: console.query(f"KILL_CLIENT {pointer}").code == "42704", "its end")


def test_a_disabled_database_turns_away_whoever_is_new(world, console):
    with world.client() as client:
        assert console.run("DISABLE app") == "DISABLE"
        with pytest.raises(Refused) as refused:
            world.client()
        assert refused.value.code == "55000"
        client.run("select 1")
        assert console.run("ENABLE app") == "ENABLE"
        world.client().close()


def test_reconnect_replaces_servers_as_they_become_free_and_wait_close_waits(world, console):
    with world.client() as client:
        client.run("begin")
        before = client.value("select pg_backend_pid()")
        assert console.run("RECONNECT app") == "RECONNECT"
        (server,) = [row for row in table(console.query("SHOW SERVERS"))
                     if row["remote_pid"] == before]
        assert server["close_needed"] == "1"
        wait = Command(world, "WAIT_CLOSE app")
        assert wait.waits()
        client.run("commit")
        assert wait.answer().tags == ["WAIT_CLOSE"]
        assert client.value("select pg_backend_pid()") != before
        eventually(lambda: world.pg.value(
            "select count(*) from pg_stat_activity where pid = %s", before) == 0, "its end")
        assert console.run("RECONNECT", "WAIT_CLOSE") == "WAIT_CLOSE"


def test_reconnect_is_for_logins_under_way_too(world, console):
    with world.client() as client:
        console.run("RECONNECT", "WAIT_CLOSE")
        with world.relay.hold_answer("current_setting('search_path')") as held:
            client.send(query("select extract(epoch from backend_start) from pg_stat_activity "
                              "where pid = pg_backend_pid()"))
            held.wait()
            since = world.pg.value("select extract(epoch from clock_timestamp())")
            assert console.run("RECONNECT app") == "RECONNECT"
            held.release()
            ((began,),) = Answer(client.until("Z")).rows
            assert float(began) > float(since)


def test_a_reload_that_moves_a_database_is_refused(world, console):
    place = world.postern.settings["databases"]["app"]
    was = place["host"]
    try:
        place["host"] = "localhost"
        world.postern.write_configuration()
        answer = console.query("RELOAD")
        assert "databases.app" in answer.error["M"] and "takes a restart" in answer.error["M"]
        with world.client() as client:
            assert client.value("select 1") == "1"
    finally:
        place["host"] = was
        world.postern.write_configuration()
        assert console.run("RELOAD") == "RELOAD"


@pytest.mark.parametrize("command,code", [
    ("PAUSE nowhere", "3D000"), ("RESUME", "55000"), ("RESUME app", "55000"), ("KILL", "42601"),
    ("PAUSE pgbouncer", "55000"), ("KILL_CLIENT c0", "42704"), ("SUSPEND", "0A000"),
    ("SHUTDOWN later", "42601"), ("SET limits.clients = 5", "55P02")])
def test_what_can_not_be_done_is_refused_and_nothing_happens(world, console, command, code):
    assert console.query(command).code == code
    assert table(console.query("SHOW STATE"))[0]["value"] == "yes"


def test_a_user_who_may_look_may_not_act(world, console):
    with world.client(user="alice", password="alice-secret", database="pgbouncer") as looking:
        assert table(looking.query("SHOW STATS"))
        for command in ("PAUSE", "RELOAD", "SHOW FDS", "SHUTDOWN"):
            assert looking.query(command).code == "42501"
    assert table(console.query("SHOW STATE"))[0]["value"] == "yes"
    with pytest.raises(Refused) as refused:
        world.client(user="bob", password="bob-secret", database="pgbouncer")
    assert refused.value.code == "42501"


def test_each_database_has_numbers_of_its_own(world, console):
    def queries():
        return {row["database"]: int(row["total_query_count"])
                for row in table(console.query("SHOW STATS"))}

    before = queries()
    with world.client(database="second") as client:
        client.run(*["select 1"] * 5)
    after = queries()
    assert after["second"] == before["second"] + 5
    assert after["app"] == before["app"]


# --- SHUTDOWN -------------------------------------------------------------------------------------


class Separate:
    """A Postern of its own, to be ended."""

    def __init__(self, world):
        self.postern = Postern(world.relay.address, {"limits": {"drain_timeout": "1min"}})

    def client(self, **kwargs):
        return Client(self.postern.address, **kwargs)

    def ended(self):
        eventually(lambda: not self.postern.running(), "its end", 30)
        assert self.postern.process.returncode == 0


@pytest.fixture
def separate(world):
    one = Separate(world)
    try:
        yield one
    finally:
        one.postern.remove()


def test_shutdown_ends_everybody_at_once(separate):
    client = separate.client()
    client.run("begin", "select 1")
    with separate.client(database="postern") as console:
        assert console.run("SHUTDOWN") == "SHUTDOWN"
        separate.ended()
    assert client.gone()
    client.drop()


def test_shutdown_that_waits_for_servers_lets_transactions_end(separate):
    client = separate.client()
    client.run("begin", "select 1")
    with separate.client(database="postern") as console:
        assert console.run("SHUTDOWN WAIT_FOR_SERVERS") == "SHUTDOWN"
    assert client.run("commit") == "COMMIT"
    separate.ended()
    client.drop()


def test_shutdown_that_waits_for_clients_lets_them_stay(separate):
    client = separate.client()
    client.run("select 1")
    with separate.client(database="postern") as console:
        assert console.run("SHUTDOWN WAIT_FOR_CLIENTS") == "SHUTDOWN"

        def refused():
            try:
                separate.client().close()
            except (Refused, OSError):
                return True
            return False

        eventually(refused, "new clients' being refused")
        client.run("begin", "select 1", "commit")
        assert table(console.query("SHOW CLIENTS"))
        assert separate.postern.running()
        client.close()
        separate.ended()
