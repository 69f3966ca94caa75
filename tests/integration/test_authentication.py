"""Who gets in: channel binding towards clients and towards PostgreSQL, and logins at PostgreSQL with
what a client has proven in place of a password; rules by host."""

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess

import pytest
from harness.certificates import Authority
from harness.middle import Middle
from harness.servers import PostgreSQL, Postern
from harness.waiting import eventually
from harness.wire import Client, Refused, Scram, fields_of, query, ssl_request, startup
from harness.world import World

pytestmark = pytest.mark.needs_postern

BOTH = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
END_POINT = "p=tls-server-end-point,,"


@pytest.fixture(scope="module")
def authority():
    one = Authority()
    yield one
    one.remove()


@pytest.fixture(scope="module")
def own(authority):
    return authority.sign("postern")


@pytest.fixture(scope="module")
def world(own):
    certificate, key = own
    with World(settings={"tls": {"certificate": str(certificate), "key": str(key)}}) as one:
        yield one


@contextlib.contextmanager
def between(upstream, authority, edit=lambda data: data):
    one = Middle(upstream, *authority.sign("somebody"), edit)
    try:
        yield one.address
    finally:
        one.end()


def stripped(data):
    """What a server says, without the offer of channel binding."""
    offer = b"R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"
    return data.replace(offer, b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0")


def secured(address, **kwargs):
    client = Client(address, login=False, **kwargs)
    client.raw(ssl_request())
    assert client.byte() == b"S"
    client.begin_tls()
    return client


def end_point(client, digest="sha256"):
    return hashlib.new(digest, client.socket.getpeercert(binary_form=True)).digest()


def psql(address, sql="select 'in'", **options):
    dsn = {"host": address[0], "port": address[1], "user": "app", "dbname": "app",
           "password": "app-secret", "connect_timeout": 10, **options}
    return subprocess.run(
        ["psql", "-XAtc", sql, " ".join(f"{key}={value}" for key, value in dsn.items())],
        capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})


# --- channel binding towards clients ---


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_libpq_logs_in_over_tls_whatever_it_says_of_channel_binding(world, binding):
    done = psql(world.address, sslmode="require", channel_binding=binding)
    assert done.stdout == "in\n", done.stderr


def test_channel_binding_is_offered_first_over_tls_and_not_without(world):
    with secured(world.address) as client:
        scram = Scram("app-secret", END_POINT, end_point(client))
        client.raw(startup_of("app"))
        client.finish_startup(scram)
        assert client.mechanisms == BOTH
        assert client.value("select 1") == "1"
    with world.client() as plain:
        assert plain.mechanisms == ["SCRAM-SHA-256"]
    done = psql(world.address, sslmode="disable", channel_binding="require")
    assert done.returncode != 0 and "channel binding" in done.stderr


def startup_of(user, **parameters):
    return startup(user=user, database="app", **parameters)


def refusal(client, scram, user="app"):
    client.raw(startup_of(user))
    with pytest.raises(Refused) as refused:
        client.finish_startup(scram)
    return refused.value


def test_a_login_bound_to_another_certificate_is_refused(world):
    with secured(world.address) as client:
        why = refusal(client, Scram("app-secret", END_POINT, bytes(32)))
        assert why.code == "28000" and "channel binding check failed" in str(why)


@pytest.mark.parametrize(("header", "mechanism", "expected"), [
    ("y,,", "SCRAM-SHA-256", "thinks the server does not"),
    ("n,,", "SCRAM-SHA-256-PLUS", "without channel-binding data"),
    ("y,,", "SCRAM-SHA-256-PLUS", "without channel-binding data"),
    ("p=tls-unique,,", "SCRAM-SHA-256-PLUS", "not tls-server-end-point"),
    (END_POINT, "SCRAM-SHA-256", "with channel-binding data"),
])
def test_what_a_client_says_of_channel_binding_must_agree_with_the_offer(
        world, header, mechanism, expected):
    with secured(world.address) as client:
        why = refusal(client, Scram("app-secret", header, mechanism=mechanism))
        assert why.code == "08P01" and expected in str(why)


def test_an_unknown_user_is_asked_the_same_way(world):
    with secured(world.address) as client:
        why = refusal(client, Scram("app-secret", END_POINT, end_point(client)), "nobody")
        assert client.mechanisms == BOTH
        assert why.code == "28P01"


def test_a_login_that_somebody_in_between_passes_on_is_refused(world, authority):
    with between(world.address, authority) as address:
        assert psql(address, sslmode="require", channel_binding="disable").stdout == "in\n"
        done = psql(address, sslmode="require", channel_binding="prefer")
        assert "SCRAM channel binding check failed" in done.stderr


def test_an_offer_that_is_taken_away_on_the_way_is_noticed(world, authority):
    with between(world.address, authority, stripped) as address:
        done = psql(address, sslmode="require", channel_binding="prefer")
        assert "thinks the server does not" in done.stderr
        done = psql(address, sslmode="require", channel_binding="require")
        assert done.returncode != 0 and "channel binding" in done.stderr


def self_signed(folder, name, *how):
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout",
         str(key), "-out", str(certificate), *how], check=True, capture_output=True)
    return certificate, key


def test_the_hash_is_that_of_the_certificates_signature(world, own, tmp_path):
    """SHA-384 by ECDSA and by RSA-PSS; Ed25519 names none, so that there is nothing to bind to."""
    kept = [path.read_bytes() for path in own]
    kinds = {
        "sha384": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha384"),
        "pss": ("-newkey", "rsa:2048", "-sha512", "-sigopt", "rsa_padding_mode:pss"),
        "ed25519": ("-newkey", "ed25519"),
    }
    try:
        for name, how in kinds.items():
            for new, used in zip(self_signed(tmp_path, name, *how), own):
                shutil.copy(new, used)
            with world.client(database="postern") as console:
                console.run("reload")
            with secured(world.address) as client:
                client.raw(startup_of("app"))
                if name == "ed25519":
                    client.finish_startup(Scram("app-secret", "y,,"))
                    assert client.mechanisms == ["SCRAM-SHA-256"]
                else:
                    digest = "sha384" if name == "sha384" else "sha512"
                    client.finish_startup(
                        Scram("app-secret", END_POINT, end_point(client, digest)))
                assert client.value("select 1") == "1"
    finally:
        for data, path in zip(kept, own):
            path.write_bytes(data)
        with world.client(database="postern") as console:
            console.run("reload")


# --- a configuration that is not sound with the sockets that are open ---


class Secluded(Postern):
    """In a network of its own, so that listening on every address reaches nobody."""

    listens_on = "0.0.0.0"

    def write_configuration(self):
        self.settings["listen"][0]["address"] = self.listens_on
        super().write_configuration()

    def _spawn(self, command, **kwargs):
        super()._spawn(["unshare", "--net", *command], **kwargs)

    def ready(self):
        with socket.socket(socket.AF_UNIX) as link:
            return link.connect_ex(self.socket_address) == 0


def may_seclude():
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_seclude(), reason="a network of its own is not to be had here")
def test_a_reload_trusts_nobody_on_a_socket_that_stays_open(world):
    one = Secluded(
        (str(world.pg.folder), world.pg.port),
        {"databases": {"app": {"service": None}}, "cache": {"enabled": False},
         "admin": {"http": None}, "users": {"trust_user": None}})
    try:
        one.listens_on = "127.0.0.1"
        one.settings["users"]["bob"] = {"auth": "trust"}
        one.write_configuration()
        with Client(one.socket_address, database="postern") as console:
            answer = console.query("reload")
            assert "0.0.0.0 is still listened on" in answer.error["M"]
        with pytest.raises(Refused):
            Client(one.socket_address, user="bob", password="wrong")
    finally:
        one.remove()


# --- channel binding towards PostgreSQL ---


@pytest.fixture(scope="module")
def encrypted(own):
    """A PostgreSQL with TLS."""
    one = PostgreSQL()
    for source, name in zip(own, ("server.crt", "server.key")):
        target = one.data / name
        shutil.copy(source, target)
        target.chmod(0o600)
        shutil.chown(target, one.data.owner(), one.data.group())
    one.run("alter system set ssl = on")
    one.run("select pg_reload_conf()")
    eventually(lambda: one.value("show ssl") == "on", "PostgreSQL's TLS")
    yield one
    one.remove()


@contextlib.contextmanager
def in_front_of(upstream, **tls):
    one = Postern(upstream, {"databases": {"app": {"tls": {"mode": "require", **tls},
                                                   "service": None}},
                             "cache": {"enabled": False}})
    try:
        yield one
    finally:
        one.remove()


def login(postern, user="app"):
    """"in", or why not."""
    try:
        with Client(postern.address, user=user, password=user.replace("_user", "") + "-secret") as one:
            return one.value("select 'in'")
    except Refused as refused:
        return str(refused)


def test_a_login_at_postgresql_is_bound_where_that_is_asked_for(encrypted):
    with in_front_of(encrypted.address, channel_binding="require") as postern:
        assert login(postern) == "in"
        for user in ("md5_user", "trust_user"):
            assert "28000 the server did not bind the login" in login(postern, user)


def test_somebody_between_postern_and_postgresql_does_not_get_the_login(encrypted, authority):
    with between(encrypted.address, authority) as address:
        with in_front_of(address, channel_binding="disable") as postern:
            assert login(postern) == "in"
        with in_front_of(address) as postern:
            assert "channel binding check failed" in login(postern)


def test_an_offer_of_postgresql_that_is_taken_away_is_noticed(encrypted, authority):
    with between(encrypted.address, authority, stripped) as address:
        with in_front_of(address) as postern:
            assert "channel binding negotiation error" in login(postern)
        with in_front_of(address, channel_binding="require") as postern:
            assert "did not bind the login" in login(postern)


# --- no password in any file ---

LOOKUP = """
    RESET ROLE;
    CREATE FUNCTION lookup(name text) RETURNS TABLE(usename name, passwd text)
        LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS
        $$ SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1 AND rolcanlogin $$;
    REVOKE ALL ON FUNCTION lookup FROM public;
    GRANT EXECUTE ON FUNCTION lookup TO postern;
    SET ROLE app;
"""


@pytest.fixture
def looked_up():
    """A Postern that knows the password of `app`, for its console, and of nobody else."""
    users = {name: None for name in ("alice", "bob", "carol", "md5_user", "trust_user")}
    with World(LOOKUP, settings={
            "users": users, "auth_query": "select usename, passwd from public.lookup($1)"}) as one:
        yield one


def of(name, world, password=None):
    return world.client(user=name, password=password or f"{name}-secret")


def test_a_password_that_only_postgresql_knows_logs_in_there(looked_up):
    assert "alice-secret" not in looked_up.postern.configuration.read_text()
    for name in ("alice", "bob"):
        with of(name, looked_up) as client:
            assert client.value("select session_user") == name
    with pytest.raises(Refused, match="28P01"):
        of("alice", looked_up, "wrong")
    # One that is refused has taken nothing away from those who were not.
    disconnect(looked_up, "alice")
    with of("alice", looked_up) as client:
        assert client.value("select session_user") == "alice"


def refused_at_postgresql(world, name, password):
    """What a client is told whose login is good for Postern alone: at its own login, or with the
    first statement that needs a server."""
    try:
        with of(name, world, password) as client:
            client.send(query("select 1"))
            return fields_of(client.until("E")[-1])
    except Refused as refused:
        return refused.fields


def disconnect(world, name):
    world.pg.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", name)
    with world.client(database="postern") as console:
        eventually(lambda: not [row for row in console.rows("show servers") if name in row],
                   "the end of the servers")


def test_after_a_change_of_password_a_new_login_brings_the_new_proof(looked_up):
    with of("alice", looked_up) as old:
        assert old.value("select 1") == "1"
        looked_up.pg.run("alter role alice password 'changed'")
        # What stands stays, as at PostgreSQL itself.
        assert old.value("select 2") == "2"
        disconnect(looked_up, "alice")
        old.send(query("select 3"))
        why = fields_of(old.until("E")[-1])
        assert why["C"] == "28000" and "changed there since" in why["M"]
    with pytest.raises(Refused, match="28P01"):
        of("alice", looked_up)
    with of("alice", looked_up, "changed") as new:
        assert new.value("select session_user") == "alice"


def test_a_verifier_in_the_configuration_needs_no_password_beside_it(looked_up):
    def use(verifier):
        settings = looked_up.postern.settings
        settings["users"]["carol"] = {"verifier": verifier}
        looked_up.postern.write_configuration()
        with looked_up.client(database="postern") as console:
            console.run("reload")

    use(looked_up.pg.value("select rolpassword from pg_authid where rolname = 'carol'"))
    with of("carol", looked_up) as client:
        assert client.value("select session_user") == "carol"
    # Another than PostgreSQL's: whoever proves that one gets no further.
    looked_up.pg.run("alter role bob password 'of another'")
    use(looked_up.pg.value("select rolpassword from pg_authid where rolname = 'bob'"))
    disconnect(looked_up, "carol")
    why = refused_at_postgresql(looked_up, "carol", "of another")
    assert why["C"] == "28000" and 'login of user "carol" at the server failed' in why["M"]


# --- rules by host ---


@pytest.fixture(scope="module")
def ruled(own, authority):
    certificate, key = own
    tls = {"certificate": str(certificate), "key": str(key)}
    with World(LOOKUP, settings={"tls": tls, "admin": {"users": ["trust_user"]}}) as one:
        one.tls = tls
        yield one


def rule(world, *entries, **tls):
    """These are the rules from now on; the last lets the administrator in, by a Unix socket."""
    settings = world.postern.settings
    settings["access"] = [
        *entries,
        {"type": "local", "users": ["trust_user"], "databases": ["postern"], "method": "trust"}]
    settings["tls"] = {**world.tls, **tls}
    world.postern.write_configuration()
    with Client(world.postern.socket_address, user="trust_user", database="postern") as console:
        console.run("reload")


def told(connect, *args, **kwargs):
    """The SQLSTATE and the words of a refusal; "in" for a login."""
    try:
        with connect(*args, **kwargs) as client:
            return client.value("select 'in'")
    except Refused as refused:
        return str(refused)


def test_without_rules_everyone_may_come_from_everywhere(ruled):
    assert told(ruled.client) == "in"
    assert told(Client, ruled.postern.socket_address) == "in"


def test_the_first_rule_that_is_meant_decides(ruled):
    rule(ruled,
         {"type": "host", "users": ["alice"], "addresses": ["127.0.0.0/8"], "method": "reject"},
         {"type": "host", "databases": ["app"], "addresses": ["127.0.0.1/32"], "method": "scram"},
         {"type": "host", "addresses": ["all"], "method": "reject"})
    assert told(ruled.client) == "in"
    assert told(of, "bob", ruled) == "in"
    assert told(of, "alice", ruled) == (
        "28000 an entry of Postern's access rules rejects connection for host \"127.0.0.1\","
        " user \"alice\", database \"app\", no encryption")
    assert told(ruled.client, password="wrong").startswith("28P01")
    # The console is a database as any other.
    assert "rejects" in told(ruled.client, database="postern")


def test_whom_no_rule_is_meant_for_is_refused(ruled):
    rule(ruled, {"type": "host", "addresses": ["10.0.0.0/8", "::/0"], "method": "scram"})
    assert told(ruled.client) == (
        "28000 no entry of Postern's access rules for host \"127.0.0.1\", user \"app\","
        " database \"app\", no encryption")
    assert told(Client, ruled.postern.socket_address) == (
        "28000 no entry of Postern's access rules for host \"[local]\", user \"app\","
        " database \"app\", no encryption")
    with secured(ruled.address) as client:
        assert str(refusal(client, None)).endswith("database \"app\", SSL encryption")


def test_tls_or_none_is_told_apart(ruled):
    only = {"addresses": ["loopback"], "method": "scram"}
    rule(ruled, {"type": "hostssl", **only})
    assert told(ruled.client).startswith("28000 no entry")
    with secured(ruled.address) as client:
        client.log_in()
        assert client.value("select 1") == "1"
    rule(ruled, {"type": "hostnossl", **only})
    assert told(ruled.client) == "in"
    with secured(ruled.address) as client:
        assert refusal(client, None).code == "28000"


def test_a_rules_method_goes_before_the_users_own(ruled):
    rule(ruled, {"type": "host", "addresses": ["samehost"], "method": "trust"})
    assert told(ruled.client, password="wrong") == "in"
    assert told(ruled.client, user="nobody").startswith("28P01")
    rule(ruled, {"type": "host", "addresses": ["samehost"], "method": "scram"})
    assert told(ruled.client, password="wrong").startswith("28P01")
    # One who has no password is not let in by an empty one.
    assert told(ruled.client, user="trust_user", password="").startswith("28P01")


def test_a_certificate_lets_in_whom_it_names(ruled, authority):
    rule(ruled, {"type": "hostssl", "addresses": ["loopback"], "method": "cert"},
         client_ca=str(authority.certificate))
    for name, wanted in (("app", "in"), ("alice", "28000 certificate authentication failed")):
        with Client(ruled.address, login=False, user="app", password="wrong") as client:
            client.raw(ssl_request())
            assert client.byte() == b"S"
            client.begin_tls(authority, authority.sign(name))
            if wanted == "in":
                client.log_in()
                assert client.value("select session_user") == "app"
            else:
                assert str(refusal(client, None)).startswith(wanted)


def test_rules_hold_for_users_that_are_looked_up(ruled):
    settings = ruled.postern.settings
    kept = settings["users"].pop("alice")
    with World(LOOKUP, settings={
            "users": {"alice": None}, "auth_query": "select usename, passwd from public.lookup($1)",
            "access": [{"type": "host", "users": ["alice", "nobody"], "addresses": ["loopback"],
                        "method": "trust"}]}) as one:
        settings["users"]["alice"] = kept
        assert told(one.client, user="nobody").startswith("28P01")
        assert told(of, "bob", one).startswith("28000 no entry")
        # Nobody has proven anything, and PostgreSQL does not trust us.
        assert "asks for a password" in told(of, "alice", one)
