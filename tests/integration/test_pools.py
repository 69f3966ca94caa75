"""How many servers and clients there may be, who is served first, and for how long a server is lent.

One Postern with a database a case; all of them are one database at PostgreSQL.
"""

import pytest
from harness.servers import ROLES
from harness.waiting import eventually
from harness.wire import Answer, Refused, query
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = """
CREATE SEQUENCE s;
CREATE TABLE served(id serial, who int);
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC;
"""
DATABASES = {
    "queue": {"pool": {"size": 1}},
    "warm": {"pool": {"size": 4, "min_size": 3, "idle_timeout": "1s"}},
    "reserved": {"pool": {"size": 1, "reserve_size": 1, "reserve_timeout": "200ms"}},
    "short": {"pool": {"lifetime": "1s"}},
    "brief": {"pool": {"idle_timeout": "1s"}},
    "few": {"limits": {"clients": 2}},
    "shared": {"pool": {"size": 2}, "limits": {"servers": 2}},
    "narrow": {"pool": {"size": 2}},
    "statements": {"pool": {"mode": "statement", "size": 1}},
    "sessions": {"pool": {"mode": "session", "size": 1}},
}
USERS = {
    "bob": {"pool": {"mode": "statement", "size": 1}, "valid_until": "infinity"},
    "carol": {"limits": {"servers": 1}},
    "trust_user": {"limits": {"clients": 1}},
    "late": {"auth": "scram", "password": "right", "valid_until": "2001-01-01 00:00:00+00"},
}


@pytest.fixture(scope="module")
def world():
    with World(SCHEMA, settings={"cache": {"enabled": False}, "users": USERS}) as one:
        host, port = one.relay.address
        one.postern.stop()
        one.postern.settings["databases"] |= {
            name: {"host": host, "port": port, "dbname": "app", **what}
            for name, what in DATABASES.items()}
        one.postern.write_configuration()
        one.postern.start()
        yield one


def login(world, database, user="alice"):
    return world.client(database=database, user=user, password=ROLES[user][0])


def shown(world, what, **wanted):
    """The rows of a SHOW as dictionaries, those that have the values wanted."""
    with world.client(database="postern") as console:
        console.send(query(f"show {what}"))
        messages = console.until("Z")
    description = next(one for one in messages if one.tag == "T").body[2:]
    names = []
    while description:
        name, _, rest = description.partition(b"\0")
        names.append(name.decode())
        description = rest[18:]
    rows = [dict(zip(names, row)) for row in Answer(messages).rows]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def waiting(world, database):
    return sum(int(one["cl_waiting"]) for one in shown(world, "pools", database=database))


def servers(world, database):
    return sum(int(one[state]) for one in shown(world, "pools", database=database)
               for state in ("sv_active", "sv_idle", "sv_login"))


# --- the queue ---


def test_who_waits_first_is_served_first_whatever_his_thread(world):
    holder = login(world, "queue")
    clients = [login(world, "queue") for _ in range(6)]
    holder.run("begin", "select 1")
    for number, client in enumerate(clients):
        client.send(query(f"insert into served(who) values ({number})"))
        eventually(lambda: waiting(world, "queue") == number + 1, "a place in the queue")
    holder.run("commit")
    for client in clients:
        assert not Answer(client.until("Z")).error
    order = [row[0] for row in holder.rows("select who from served order by id")]
    assert order == [str(number) for number in range(6)]
    for client in [holder, *clients]:
        client.close()


def test_the_reserve_opens_for_who_has_waited_long_enough(world):
    with login(world, "reserved") as first, login(world, "reserved") as second:
        with login(world, "reserved") as third:
            first.run("begin", "select 1")
            second.run("begin", "select 2")  # the first still has the pool's only server
            assert servers(world, "reserved") == 2
            third.send(query("select 3"))
            eventually(lambda: waiting(world, "reserved") == 1, "the third's waiting")
            assert servers(world, "reserved") == 2
            first.run("commit")
            assert Answer(third.until("Z")).rows == [("3",)]
            second.run("commit")


# --- how long servers live ---


def test_min_size_servers_are_there_once_the_pool_is_used_and_are_replaced(world):
    with login(world, "warm") as client:
        pid = client.value("select pg_backend_pid()")
        eventually(lambda: servers(world, "warm") == 3, "as many servers as min_size")
        world.pg.run(f"select pg_terminate_backend({pid}, 10000)")
        eventually(lambda: client.value("select pg_backend_pid()") != pid, "another server")
        eventually(lambda: servers(world, "warm") == 3, "as many servers as min_size")


def test_idle_timeout_closes_idle_servers(world):
    with login(world, "brief") as client:
        client.run("select 1")
        eventually(lambda: servers(world, "brief") == 0, "the server's end")
        assert client.value("select 1") == "1"


def test_a_server_older_than_its_lifetime_is_not_lent_again(world):
    with login(world, "short") as client:
        pid = client.value("select pg_backend_pid()")
        eventually(lambda: client.value("select pg_backend_pid()") != pid, "another server")


# --- how many there may be ---


def refusal_of(world, database, user):
    try:
        login(world, database, user).close()
    except Refused as refused:
        return refused.code, refused.fields["S"], refused.fields["M"]
    return None


def test_a_databases_clients_are_limited_in_postgresqls_words(world):
    with login(world, "few"):
        with login(world, "few", "bob"):
            assert refusal_of(world, "few", "alice") == (
                "53300", "FATAL", 'too many connections for database "few"')
        eventually(lambda: refusal_of(world, "few", "alice") is None, "a place again")


def test_a_users_clients_are_limited_in_postgresqls_words(world):
    with login(world, "app", "trust_user"):
        assert refusal_of(world, "queue", "trust_user") == (
            "53300", "FATAL", 'too many connections for role "trust_user"')
    eventually(lambda: refusal_of(world, "queue", "trust_user") is None, "a place again")


def test_idle_servers_of_other_users_make_room_within_a_databases_limit(world):
    with login(world, "shared") as first, login(world, "shared") as second, \
            login(world, "shared", "md5_user") as other:
        other.run("select 1")
        # The other's server is idle, and goes.
        first.run("begin", "select 1")
        second.run("begin", "select 1")
        assert servers(world, "shared") == 2
        other.send(query("select 'room'"))
        eventually(lambda: waiting(world, "shared") == 1, "the other's waiting")
        assert servers(world, "shared") == 2
        # It comes back while nobody of its own pool waits for it, and goes too.
        first.run("commit")
        assert Answer(other.until("Z")).rows == [("room",)]
        assert servers(world, "shared") <= 2
        second.run("commit")


def test_a_users_servers_are_limited_over_all_his_pools(world):
    with login(world, "narrow", "carol") as here, login(world, "app", "carol") as there:
        for _ in range(3):
            assert here.value("select 1") == "1"
            assert there.value("select 1") == "1"
            pools = shown(world, "pools", user="carol")
            assert sum(int(one[state]) for one in pools
                       for state in ("sv_active", "sv_idle", "sv_login")) <= 1


# --- modes ---


@pytest.mark.parametrize("text", ["begin", "start transaction read only", "begin; select 1; commit"])
def test_statement_mode_refuses_transaction_blocks_and_goes_on(world, text):
    with login(world, "statements") as client:
        for answer in client.query(text), client.prepared(text.split(";")[0]):
            assert answer.code == "0A000"
            assert answer.error["M"] == "transaction blocks not allowed in statement pooling mode"
        assert client.status == "I"
        assert client.value("select 1") == "1"


def test_statement_mode_lends_its_server_for_one_statement(world):
    with login(world, "statements") as first, login(world, "statements") as second:
        pid = first.value("select pg_backend_pid()")
        first.run("set work_mem = '9MB'")
        assert second.value("select pg_backend_pid()") == pid
        assert first.value("show work_mem") == "9MB"
        assert second.value("show work_mem") != "9MB"


def test_a_users_own_mode_comes_before_his_databases(world):
    with login(world, "queue", "bob") as client:
        assert client.query("begin").code == "0A000"
    with login(world, "queue", "alice") as client:
        client.run("begin", "select 1", "commit")


def test_session_mode_keeps_the_server_until_its_client_leaves(world):
    first = login(world, "sessions")
    with login(world, "sessions") as second:
        pid = first.value("select pg_backend_pid()")
        first.run("select nextval('s')")
        second.send(query("select pg_backend_pid()"))
        eventually(lambda: waiting(world, "sessions") == 1, "the second's waiting")
        assert first.value("select pg_backend_pid()") == pid
        first.close()
        assert Answer(second.until("Z")).rows == [(pid,)]
        # And nothing of the first is left on it.
        assert second.query("select lastval()").code == "55000"


def test_session_mode_closes_a_server_that_carries_more_than_can_be_discarded(world):
    with login(world, "sessions") as first:
        first.run("create temp table mine(a int)", "begin", "insert into mine values (1)")
    with login(world, "sessions") as second:
        assert second.query("select * from mine").code == "42P01"


# --- passwords that end ---


def test_a_password_that_has_expired_fails_like_a_wrong_one(world):
    with pytest.raises(Refused) as refused:
        world.client(user="late", password="right")
    assert refused.value.code == "28P01"
    assert refused.value.fields["M"] == 'password authentication failed for user "late"'
    assert "expired password" in world.postern.log_text(20000)


def test_auth_query_may_say_when_a_password_ends():
    schema = """
        RESET ROLE;
        CREATE FUNCTION postern_lookup(name text)
            RETURNS TABLE(usename name, passwd text, valuntil timestamptz)
            LANGUAGE sql SECURITY DEFINER AS
            $$ SELECT rolname, rolpassword, rolvaliduntil FROM pg_authid WHERE rolname = $1 $$;
        REVOKE ALL ON FUNCTION postern_lookup FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION postern_lookup TO postern;
    """
    settings = {"cache": {"enabled": False}, "users": {"trust_user": None},
                "auth_query": "SELECT usename, passwd, valuntil FROM public.postern_lookup($1)"}
    with World(schema, settings=settings) as world:
        for until in (None, "infinity", "2200-01-01"):
            if until:
                world.pg.run(f"ALTER ROLE trust_user VALID UNTIL '{until}'")
            with login(world, "app", "trust_user") as client:
                assert client.value("select current_user") == "trust_user"
        world.pg.run("ALTER ROLE trust_user VALID UNTIL '2001-01-01 00:00:00.5+09'")
        assert refusal_of(world, "app", "trust_user") == (
            "28P01", "FATAL", 'password authentication failed for user "trust_user"')
        assert "expired password" in world.postern.log_text(20000)


# --- what the console says of it ---


def test_show_databases_and_users_tell_what_is_configured(world):
    (warm,) = shown(world, "databases", name="warm")
    assert (warm["pool_size"], warm["min_pool_size"]) == ("4", "3")
    (reserved,) = shown(world, "databases", name="reserved")
    assert reserved["reserve_pool"] == "1"
    (shared,) = shown(world, "databases", name="shared")
    assert shared["max_connections"] == "2"
    (statements,) = shown(world, "databases", name="statements")
    assert statements["pool_mode"] == "statement"
    (bob,) = shown(world, "users", name="bob")
    assert bob["pool_mode"] == "statement"
