"""One Postern takes over from another: nobody is refused, nothing is lost, nothing is stale."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest
import yaml
from harness.servers import postern_program
from harness.waiting import eventually, runs
from harness.wire import Answer, Client, Refused, cancel_request, query
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = "CREATE TABLE t(a int); CREATE TABLE k(a int); INSERT INTO k VALUES (1)"


class Instance:
    """One of the processes that share a configuration."""

    def __init__(self, world, *options, settings=None):
        self.world = world
        self.file = world.postern.folder / f"{os.urandom(4).hex()}.yaml"
        self.file.write_text(yaml.safe_dump(settings or world.postern.settings))
        self.log = self.file.with_suffix(".log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", str(postern_program()), "serve", "-c",
                 str(self.file), *options], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=world.postern.folder, env=os.environ)

    def said(self, words):
        return words in self.log.read_text(errors="replace")

    def until_said(self, words):
        def heard():
            assert self.process.poll() is None or self.said(words), self.log.read_text()
            return self.said(words)

        eventually(heard, f"“{words}” in the log", 60)
        return self

    def running(self):
        return self.process.poll() is None

    def ends(self, status=0):
        assert self.process.wait(60) == status, self.log.read_text()
        assert "Sanitizer" not in self.log.read_text(), self.log.read_text()
        return self

    def send(self, which):
        self.process.send_signal(which)


@pytest.fixture(scope="module")
def cluster():
    with World(SCHEMA, pool_size=4) as one:
        one.postern.stop()
        yield one


@pytest.fixture
def world(cluster):
    """A Postern that can be taken over; `world.start` and `world.take_over` start others."""
    cluster.postern.settings["runtime_dir"] = str(cluster.postern.folder / "runtime")
    cluster.postern.settings["limits"] = {"drain_timeout": "60s", "takeover_timeout": "60s"}
    cluster.pg.run("truncate t")
    started = []

    def start(*options, **kwargs):
        started.append(Instance(cluster, *options, **kwargs))
        return started[-1]

    cluster.start = start
    cluster.take_over = lambda: start("--takeover").until_said("listening on")
    cluster.first = start()
    eventually(cluster.postern_ready, "the first one's readiness", 60)
    yield cluster
    for one in started:
        if one.running():
            one.send(signal.SIGINT)
    for one in started:
        one.process.wait(60)
        # Who has not begun to serve dies of an interrupt like any program.
        assert one.process.returncode in (0, 1, -signal.SIGKILL, -signal.SIGINT), one.log.read_text()
        assert "Sanitizer" not in one.log.read_text(), one.log.read_text()


@pytest.fixture(autouse=True, scope="module")
def readiness(cluster):
    cluster.postern_ready = lambda: b" 200 " in cluster.postern.http("/readyz").split(b"\r\n")[0]


class Load:
    """Clients that insert in transactions, and one that connects, until they are told to stop.

    What is counted is what was acknowledged."""

    def __init__(self, world, clients=4):
        self.world = world
        self.over = threading.Event()
        self.inserted = 0
        self.connected = 0
        self.errors = []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.insert, args=(n,)) for n in range(clients)]
        self.threads += [
            threading.Thread(target=self.connect, args=(address,))
            for address in (world.postern.address, world.postern.socket_address)]

    def __enter__(self):
        for one in self.threads:
            one.start()
        self.goes_on()
        return self

    def __exit__(self, *_):
        self.over.set()
        for one in self.threads:
            one.join(60)

    def insert(self, number):
        """Half of them stay connected; they leave when they are ended between two transactions."""
        try:
            while not self.over.is_set():
                with self.world.client() as client:
                    for _ in range(10 ** 6 if number % 2 else 5):
                        if self.over.is_set():
                            break
                        client.run("begin", "insert into t values (1)", "commit")
                        with self.lock:
                            self.inserted += 1
        except Exception as error:  # whatever it is, there should have been none
            self.errors.append(repr(error))

    def connect(self, address):
        try:
            while not self.over.is_set():
                with Client(address) as client:
                    assert client.value("select 1") == "1"
                with self.lock:
                    self.connected += 1
        except Exception as error:
            self.errors.append(repr(error))

    def goes_on(self):
        """Until more has been done by everyone."""
        with self.lock:
            inserted, connected = self.inserted, self.connected
        eventually(
            lambda: self.errors or (self.inserted > inserted + 20 and
                                    self.connected > connected + 10), "the load going on", 60)
        assert not self.errors, self.errors


def test_nobody_is_refused_and_nothing_is_lost_under_load(world):
    with Load(world) as load:
        second = world.take_over()
        world.first.until_said("another process has taken over")
        load.goes_on()
        assert world.first.running(), "its clients have not left yet"
        third = world.take_over()
        second.until_said("another process has taken over")
        load.goes_on()
    assert not load.errors, load.errors
    # The clients have left, so each ends; a later one not before an earlier one.
    world.first.ends()
    second.ends()
    assert world.pg.value("select count(*) from t") == load.inserted
    third.until_said("the process that was taken over from has ended")
    assert world.postern_ready()


def test_readiness_never_fails(world):
    answers = []
    over = threading.Event()

    def ask():
        while not over.is_set():
            answers.append(world.postern.http("/readyz").split(b"\r\n")[0])

    asking = threading.Thread(target=ask)
    asking.start()
    world.take_over()
    world.first.ends()
    over.set()
    asking.join(30)
    assert answers and all(b" 200 " in one for one in answers), answers


def test_old_clients_may_stay_for_the_time_to_drain_and_are_ended_between_transactions(world):
    world.first.send(signal.SIGINT)
    world.first.ends()
    world.postern.settings["limits"]["drain_timeout"] = "3s"
    first = world.start()
    eventually(world.postern_ready, "readiness", 60)
    with world.client() as idle, world.client() as open_:
        open_.run("begin", "insert into t values (1)")
        world.take_over()
        assert idle.value("select 1") == "1"
        assert idle.gone()
        assert b"C57P01\0" in idle.transcript[-1].body
        # Whoever is in a transaction then has as long again.
        open_.run("insert into t values (2)", "commit")
        assert open_.gone()
        assert b"C57P01\0" in open_.transcript[-1].body
    first.ends()
    assert world.pg.value("select count(*) from t") == 2


def test_a_cancel_reaches_the_process_that_has_its_client(world):
    with world.client() as oldest:
        second = world.take_over()
        world.first.until_said("another process has taken over")
        with world.client() as older:
            world.take_over()
            second.until_said("another process has taken over")
            with world.client() as newest:
                assert len({client.key[0] % 8 for client in (oldest, older, newest)}) == 3
                for number, client in enumerate((oldest, older, newest)):
                    client.send(query(f"select pg_sleep(600), 'far {number}'"))
                    eventually(lambda n=number: runs(world, f"'far {n}'"), "the query running")
                for client in (newest, oldest, older):
                    client.cancel()  # comes to the newest: it alone accepts
                    assert Answer(client.until("Z")).code == "57014"
                    assert client.value("select 1") == "1"
    world.first.ends()
    second.ends()


def test_a_cancel_that_the_old_process_has_accepted_reaches_the_new_one(world):
    """Its connection was accepted before the takeover, its request comes after it."""
    with world.client() as stays, Client(world.address, login=False) as late:
        late.raw(cancel_request(1, 1)[:4])
        stays.run("select 1")
        world.take_over()
        world.first.until_said("another process has taken over")
        with world.client() as client:
            client.send(query("select pg_sleep(600), 'new'"))
            eventually(lambda: runs(world, "'new'"), "the query running")
            late.raw(cancel_request(*client.key)[4:])
            assert Answer(client.until("Z")).code == "57014"
            assert late.gone()
    world.first.ends()


def test_a_cancel_with_a_wrong_secret_reaches_nobody(world):
    with world.client() as old:
        world.take_over()
        world.first.until_said("another process has taken over")
        old.send(query("select pg_sleep(0.5), 'kept'"))
        eventually(lambda: runs(world, "'kept'"), "the query running")
        with Client(world.address, login=False) as other:
            other.raw(cancel_request(old.key[0], old.key[1] ^ 1))
            assert other.gone() and not other.transcript
        assert not Answer(old.until("Z")).error
    world.first.ends()


def test_no_read_is_stale_while_both_serve(world):
    with world.client() as old:
        read = "select a from k"
        assert old.value(read) == old.value(read)
        world.take_over()
        world.first.until_said("another process has taken over")
        with world.client() as new:
            for number in range(20):
                writer, reader = (old, new) if number % 2 else (new, old)
                reader.value(read)
                writer.run(f"update k set a = {number}")
                assert reader.value(read) == str(number)
                assert writer.value(read) == str(number)
            assert world.postern.metrics()["postern_hits_near_total"] == 0
    world.first.ends()

    def hit():
        with world.client() as client:
            client.value(read)
        return world.postern.metrics()["postern_hits_near_total"] > 0

    eventually(hit, "the cache being believed again")


@pytest.mark.parametrize("fault", ["configuration", "catalog", "port", "killed"])
def test_a_process_that_can_not_start_leaves_the_running_one_as_it_was(world, fault):
    settings = yaml.safe_load(yaml.safe_dump(world.postern.settings))
    with socket.socket() as taken, Load(world, clients=2) as load:
        taken.bind(("127.0.0.1", 0))
        if fault == "configuration":
            settings["limits"]["clients"] = "many"
        elif fault == "port":
            taken.listen()
            settings["listen"].append({"address": "127.0.0.1", "port": taken.getsockname()[1]})
        else:
            # Nobody answers there.
            settings["databases"]["app"]["port"] = taken.getsockname()[1]
            settings["limits"]["takeover_timeout"] = "300ms" if fault == "catalog" else "60s"
        second = world.start("--takeover", settings=settings)
        if fault == "killed":
            world.first.until_said("another process wants to take over")
            second.send(signal.SIGKILL)
        second.ends(-signal.SIGKILL if fault == "killed" else 1)
        load.goes_on()
        assert world.postern_ready()
        if fault != "configuration":
            world.first.until_said("this one goes on serving")
        # And it can still be taken over.
        world.take_over()
        load.goes_on()
    assert not load.errors, load.errors
    world.first.ends()


def test_who_stops_while_another_starts_is_not_taken_over(world):
    """The other one waits for the catalog, which is locked; it finds a name that is gone."""
    with world.client() as client:
        client.run("begin")
        world.pg.run("begin")
        world.pg.run("lock table pg_policy")
        second = world.start("--takeover")
        world.first.until_said("another process wants to take over")
        world.first.send(signal.SIGTERM)
        world.first.until_said("stopping: waiting for 1 clients in transactions")
        world.pg.run("rollback")
        second.ends(1).said("the running process refuses: it is stopping")
        client.run("commit")
    world.first.ends()


def test_a_stop_after_a_takeover_lets_transactions_finish(world):
    with world.client() as idle, world.client() as open_:
        open_.run("begin", "insert into t values (1)")
        world.take_over()
        world.first.until_said("another process has taken over")
        assert idle.value("select 1") == "1"
        world.first.send(signal.SIGTERM)
        assert idle.gone()
        open_.run("insert into t values (2)", "commit")
        assert open_.gone()
    world.first.ends()
    assert world.pg.value("select count(*) from t") == 2


def test_a_pause_after_a_takeover_keeps_nobody_waiting(world):
    """The console that says it is still the old process's; nobody could say RESUME there later."""
    with world.client(database="postern") as console, world.client() as client:
        world.take_over()
        world.first.until_said("another process has taken over")
        console.run("pause app")
        assert client.status == "I"
    world.first.ends()


@pytest.mark.parametrize("what,undo", [("pause app", "resume app"), ("pause", "resume"),
                                       ("disable app", "enable app")])
def test_who_keeps_clients_back_is_not_taken_over(world, what, undo):
    with world.client(database="postern") as console:
        console.run(what)
        assert world.start("--takeover").ends(1).said("paused or disabled")
        console.run(undo)
    world.take_over()
    world.first.ends()


def test_a_socket_whose_queue_is_full_is_not_taken_for_a_leftover(world):
    folder = world.postern.folder / "full"
    folder.mkdir()
    settings = {**world.postern.settings, "listen": [{"address": str(folder), "port": 5432}]}
    del settings["runtime_dir"]
    path = str(folder / ".s.PGSQL.5432")
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(socket.socket(socket.AF_UNIX))
        other.bind(path)
        other.listen(0)
        with pytest.raises(BlockingIOError):
            for _ in range(100):
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        assert world.start(settings=settings).ends(1).said("Address already in use")
        assert pathlib.Path(path).exists()


def test_a_port_is_not_shared_with_one_who_does_not_take_over(world):
    second = world.start().ends(1)
    assert second.said("another Postern runs with runtime_dir")
    settings = {**world.postern.settings, "runtime_dir": str(world.postern.folder / "other")}
    third = world.start(settings=settings).ends(1)
    assert third.said(f"could not listen on 127.0.0.1:{world.postern.port}: Address already in use")
    assert third.said("--takeover")
    assert world.postern_ready()
    with world.client() as client:
        assert client.value("select 1") == "1"


def test_there_must_be_somebody_to_take_over_from_and_a_place_to_find_him(world):
    settings = {**world.postern.settings, "runtime_dir": str(world.postern.folder / "empty")}
    pathlib.Path(settings["runtime_dir"]).mkdir(mode=0o700)
    assert world.start("--takeover", settings=settings).ends(1).said("no Postern to take over from")
    del settings["runtime_dir"]
    assert world.start("--takeover", settings=settings).ends(1).said("needs runtime_dir")


def test_a_folder_that_others_can_write_to_is_refused(world):
    folder = world.postern.folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    settings = {**world.postern.settings, "runtime_dir": str(folder)}
    for options in ((), ("--takeover",)):
        assert world.start(*options, settings=settings).ends(1).said("with mode 0700")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_can_not_take_over(world):
    """Even where the folder's mode would let him in."""
    folder = pathlib.Path(world.postern.settings["runtime_dir"])
    folder.chmod(0o711)
    (folder / "control").chmod(0o777)
    code = ("import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
            f"s.connect('{folder}/control');"
            "s.settimeout(30)\n"
            "try: s.send(b'takeover 1'); print(s.recv(100))\n"
            "except ConnectionError: print(b'')")
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", "/usr/bin/python3", "-c", code],
        capture_output=True, text=True, check=False)
    assert done.stdout == "b''\n", done
    assert world.first.until_said("another user's process has connected").running()
    folder.chmod(0o700)


def test_whoever_stops_is_not_taken_over(world):
    with world.client() as client:
        client.run("begin")
        world.first.send(signal.SIGTERM)
        eventually(lambda: b" 503 " in world.postern.http("/readyz"), "readiness failing")
        assert world.start("--takeover").ends(1).said("refuses: it is stopping")
        client.run("rollback")
    world.first.ends()


def test_the_sockets_names_go_with_the_last_process(world):
    second = world.take_over()
    eventually(world.postern_ready, "the second one's readiness")
    second.send(signal.SIGTERM)
    world.first.ends()
    control = pathlib.Path(world.postern.settings["runtime_dir"]) / "control"
    eventually(lambda: not control.exists(), "the control socket's end")
    assert not pathlib.Path(world.postern.socket_address).exists()
    try:
        world.client()
    except (ConnectionError, Refused):
        return
    raise AssertionError("somebody listens")
