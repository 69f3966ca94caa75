#!/usr/bin/python3
"""Many clients on a network that breaks, and what must hold all the same.

    faults.py [--seconds N] [--seed S] [--clients N]

Clients of several users run self-checking transactions while connections on either side are cut,
reset, stopped, slowed down and delivered byte by byte, servers are terminated and PostgreSQL is
restarted. What each client does is drawn from the seed and its number, what becomes of each of
Postern's connections from the seed and its number; only how the two meet is left to the machine.

Held to, at every answer: it carries the question's own nonce, a counter has no value from before its
last acknowledged increment, errors are those that faults explain, nobody waits longer than a limit.
Held to at the end: each acknowledged commit is there once, nothing rolled back is there, nothing is
there twice, and Postern's clients, servers, descriptors and memory are back where they were.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import random
import re
import signal
import socket
import struct
import sys
import threading
import time

from harness.breaking_relay import BreakingRelay
from harness.servers import PostgreSQL, Postern
from harness.waiting import eventually
from harness.wire import (Answer, Client, Closed, Refused, bind, close, copy_data, copy_done, describe,
                          execute, fields_of, parse, query, row_of, sync, tag_of)

USERS = {"app": "app-secret", "alice": "alice-secret", "bob": "bob-secret"}
POOL_SIZE = 3
ANSWER_TIMEOUT = 45.0  # longer than any limit of Postern's and of the relay's together
AFTER_FAULTS_SECONDS = 90
RESTART_EVERY_SECONDS = 45
CACHE_MEMORY = "8MiB"
GROWTH_MAX = 64 << 20
SANITIZED = pathlib.Path(os.environ.get("POSTERN_BUILD", "")).name in ("asan", "tsan")
SCHEMA = """
CREATE TABLE ledger(client int, n int);
CREATE TABLE counter(client int PRIMARY KEY, value int);
GRANT ALL ON ALL TABLES IN SCHEMA public TO alice, bob"""

# What a lost connection, a terminated server or a stopping PostgreSQL may say.
LOST = {"08006", "08003", "08001", "57P01", "57P02", "57P03", "53300"}
CANCELLED = {"57014"}
FAILED_TRANSACTION = {"25P02"}


class Wrong(AssertionError):
    """Something that no fault explains."""


class Lost(Exception):
    """The connection is gone, or the statement's outcome is unknown."""


@dataclasses.dataclass
class Ledger:
    """What a client knows of its own writes. Read by others: one int at a time, under the lock."""

    acknowledged: set
    unknown: set
    next: int = 1


class Bank:
    """All clients' ledgers."""

    def __init__(self, clients):
        self.lock = threading.Lock()
        self.ledgers = [Ledger(set(), set()) for _ in range(clients)]

    def least(self, client):
        with self.lock:
            return len(self.ledgers[client].acknowledged)

    def most(self, client):
        with self.lock:
            return self.ledgers[client].next - 1


class Person(threading.Thread):
    """One application's client: connects, works, leaves in some way, and again."""

    def __init__(self, number, run):
        super().__init__(daemon=True)
        self.number = number
        self.run_of = run
        self.bank = run.bank
        self.ledger = run.bank.ledgers[number]
        self.chance = random.Random(f"{run.seed}/client/{number}")
        self.user = self.chance.choice(sorted(USERS))
        self.counts = collections.Counter()
        self.failure = None
        self.client = None
        self.doing = "nothing yet"
        self.known = set()  # names of statements that this connection has
        self.questions = 0

    def run(self):
        try:
            while not self.run_of.over.is_set():
                self.live()
        except BaseException as error:  # told by the main thread
            self.failure = error

    def live(self):
        """One connection's life."""
        try:
            self.doing = "logging in"
            self.client = Client(
                self.run_of.postern.address, user=self.user, password=USERS[self.user], timeout=ANSWER_TIMEOUT)
        except Refused as error:
            self.explained(error.code)
            time.sleep(0.05)
            return
        except (TimeoutError, socket.timeout):
            raise Wrong(f"client {self.number}: no answer to its login") from None
        except (Closed, OSError):
            return
        self.known = set()
        try:
            for _ in range(self.chance.randint(1, 40)):
                if self.run_of.over.is_set():
                    break
                self.work()
                self.client.transcript.clear()
            self.leave()
        except Lost:
            self.counts["lost"] += 1
        finally:
            self.client.drop()

    # --- what is done ---

    def work(self):
        kinds = {
            self.ask_simple: 4, self.ask_extended: 4, self.ask_much: 2, self.ask_counter: 6, self.ask_setting: 2,
            self.ask_pipeline: 2, self.ask_wrong: 1, self.ask_cancelled: 1, self.write_together: 2,
            self.write_stepwise: 4, self.write_pipeline: 3, self.write_cte: 2, self.write_copy: 1,
            self.write_rolled_back: 2}
        do = self.chance.choices(list(kinds), list(kinds.values()))[0]
        self.doing = do.__name__
        self.counts[do.__name__] += 1
        try:
            do()
        except (TimeoutError, socket.timeout):
            ours = self.client.socket.getsockname()[1]
            raise Wrong(f"client {self.number}, port {ours}: no answer within {ANSWER_TIMEOUT} s, doing {self.doing}"
                        f"\n{self.run_of.state()}") from None
        except (Closed, OSError) as error:
            raise Lost(str(error)) from None

    def nonce(self):
        self.questions += 1
        return f"{self.number}.{self.questions}.{self.chance.getrandbits(40):x}"

    def explained(self, code):
        if code not in LOST | CANCELLED | FAILED_TRANSACTION:
            raise Wrong(f"client {self.number} ({self.doing}): error {code} that no fault explains:"
                        f" {self.client.transcript[-3:] if self.client else ''}")
        self.counts[code] += 1

    def answered(self, messages):
        """The answer's rows and tags; None when it failed for a reason that faults explain."""
        answer = Answer(messages)
        if answer.error:
            self.explained(answer.code)
            if answer.error.get("V") == "FATAL":
                raise Lost(answer.code)
            return None
        return answer

    def until_ready(self):
        messages = []
        while not messages or messages[-1].tag != "Z":
            messages.append(self.client.receive())
            if messages[-1].tag == "E" and fields_of(messages[-1]).get("V") == "FATAL":
                self.explained(fields_of(messages[-1])["C"])
                raise Lost("FATAL")
        return messages

    def ask(self, *messages):
        self.client.send(*messages)
        return self.answered(self.until_ready())

    def check(self, found, wanted, what):
        if found != wanted:
            raise Wrong(f"client {self.number} ({what}): asked for {wanted!r}, was answered {found!r}")

    # --- reads ---

    def ask_simple(self):
        nonce = self.nonce()
        if answer := self.ask(query(f"select '{nonce}'")):
            self.check(answer.rows, [(nonce,)], "simple")

    def ask_extended(self):
        nonce = self.nonce()
        name = self.chance.choice(["", "a", "b"])
        sql = {"": "select $1::text, 'unnamed'", "a": "select $1::text, 'a'", "b": "select 'b', $1::text"}[name]
        wanted = {"": (nonce, "unnamed"), "a": (nonce, "a"), "b": ("b", nonce)}[name]
        # An earlier attempt that failed may have left the statement behind, or not.
        first = [] if name in self.known else [close("S", name), parse(name, sql)]
        answer = self.ask(*first, bind("", name, [nonce]), describe("P"), execute(), sync())
        if answer:
            self.known |= {name} - {""}
            self.check(answer.rows, [wanted], "extended")

    def ask_pipeline(self):
        nonces = [self.nonce() for _ in range(self.chance.randint(2, 12))]
        self.client.send(*[
            part for nonce in nonces
            for part in (parse("", "select $1::text"), bind("", "", [nonce]), execute(), sync())])
        for nonce in nonces:
            if answer := self.answered(self.until_ready()):
                self.check(answer.rows, [(nonce,)], "pipeline")

    def ask_much(self):
        """A large answer, now and then left in the middle."""
        nonce, count = self.nonce(), self.chance.randint(10, 1500)
        self.client.send(query(f"select '{nonce}', g, repeat('x', 700) from generate_series(1, {count}) g"))
        leaves_at = self.chance.randint(1, count) if self.chance.random() < 0.1 else 0
        seen = 0
        while (message := self.client.receive()).tag != "Z":
            if message.tag == "D":
                seen += 1
                self.check(row_of(message)[:2], [nonce.encode(), str(seen).encode()], "a large answer")
                if seen == leaves_at:
                    self.reset()
            elif message.tag == "E":
                self.explained(fields_of(message)["C"])
                if fields_of(message).get("V") == "FATAL":
                    raise Lost("FATAL")
                seen = count
            elif message.tag == "C":
                self.check(tag_of(message), f"SELECT {count}", "a large answer's end")
            self.client.transcript.clear()
        self.check(seen, count, "a large answer's rows")

    def ask_counter(self):
        """Anybody's counter, which the cache may answer: never older than what was acknowledged."""
        whose = self.chance.randrange(len(self.bank.ledgers))
        least = self.bank.least(whose)
        if self.chance.random() < 0.5:
            answer = self.ask(query(f"select client, value from counter where client = {whose}"))
        else:
            answer = self.ask(parse("", "select client, value from counter where client = $1::int"),
                              bind("", "", [whose]), execute(), sync())
        if answer:
            most = self.bank.most(whose)
            (client, value), = answer.rows
            self.check(client, str(whose), "whose counter")
            if not least <= int(value) <= most:
                raise Wrong(f"client {self.number}: counter {whose} is {value}, not within {least} … {most}")

    def ask_setting(self):
        nonce = self.nonce()
        if self.ask(query(f"set my.nonce = '{nonce}'")):
            for _ in range(self.chance.randint(1, 4)):
                if answer := self.ask(query("select current_setting('my.nonce')")):
                    self.check(answer.rows, [(nonce,)], "a setting")

    def ask_wrong(self):
        self.client.send(query("select 1/0"))
        code = Answer(self.until_ready()).code
        if code != "22012":
            self.explained(code)

    def ask_cancelled(self):
        self.client.send(query("select pg_sleep(0.05)"))
        with contextlib.suppress(OSError):
            self.client.cancel()
        self.answered(self.until_ready())

    # --- writes ---

    @contextlib.contextmanager
    def write(self):
        """The write's number. Its outcome is unknown until `acknowledge` or `refuse` says otherwise."""
        with self.bank.lock:
            n = self.ledger.next
            self.ledger.next += 1
            self.ledger.unknown.add(n)
        yield n

    def acknowledge(self, n):
        with self.bank.lock:
            self.ledger.unknown.discard(n)
            self.ledger.acknowledged.add(n)

    def refuse(self, n):
        """It is certain that nothing of it remains."""
        with self.bank.lock:
            self.ledger.unknown.discard(n)

    def statements(self, n):
        return (f"insert into ledger values ({self.number}, {n})",
                f"update counter set value = value + 1 where client = {self.number}")

    def settle(self, n, answer, tags):
        """The outcome by the answer to what commits."""
        if answer is None:
            return  # an error may have come behind the commit's own way
        self.check(answer.tags, tags, "a write's tags")
        self.acknowledge(n)

    def write_together(self):
        with self.write() as n:
            self.settle(n, self.ask(query("; ".join(self.statements(n)))), ["INSERT 0 1", "UPDATE 1"])

    def write_cte(self):
        with self.write() as n:
            insert, update = self.statements(n)
            self.settle(n, self.ask(query(f"with i as ({insert}) {update}")), ["UPDATE 1"])

    def write_pipeline(self):
        with self.write() as n:
            messages = [part for sql in self.statements(n) for part in (parse("", sql), bind("", ""), execute())]
            self.settle(n, self.ask(*messages, sync()), ["INSERT 0 1", "UPDATE 1"])

    def transaction(self, parts, end):
        """Statement by statement; the answer to `end`, or None when it was rolled back before."""
        if not self.ask(query("begin")):
            return None
        for part in parts:
            if not part():
                self.ask(query("rollback"))
                return None
        return self.ask(query(end))

    def write_stepwise(self):
        with self.write() as n:
            self.commit(n, [lambda sql=sql: self.ask(query(sql)) for sql in self.statements(n)])

    def write_copy(self):
        with self.write() as n:
            self.commit(n, [lambda: self.copy(n), lambda: self.ask(query(self.statements(n)[1]))])

    def commit(self, n, parts):
        answer = self.transaction(parts, "commit")
        if answer is None:
            return
        if answer.tags == ["COMMIT"]:
            self.acknowledge(n)
        else:
            self.check(answer.tags, ["ROLLBACK"], "commit")
            self.refuse(n)

    def copy(self, n):
        self.client.send(query("copy ledger from stdin"))
        while (message := self.client.receive()).tag not in "GE":
            pass
        if message.tag == "E":
            self.explained(fields_of(message)["C"])
            if fields_of(message).get("V") == "FATAL":
                raise Lost("FATAL")
            self.until_ready()
            return None
        if self.chance.random() < 0.1:
            self.client.raw(copy_data(f"{self.number}\t{n}\n")[:7])
            self.reset()
        return self.ask(copy_data(f"{self.number}\t{n}\n"), copy_done())

    def write_rolled_back(self):
        with self.write() as n:
            self.refuse(n)  # committed by nobody, whatever becomes of the connection
            self.transaction([lambda sql=sql: self.ask(query(sql)) for sql in self.statements(n)], "rollback")

    # --- leaving ---

    def reset(self):
        self.client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.client.drop()
        raise Lost("on purpose")

    def leave(self):
        way = self.chance.choice(["farewell", "drop", "reset", "half a message", "in a query", "half close", "batch"])
        self.doing = f"leaving: {way}"
        self.counts[way] += 1
        if self.client.status != "I":
            return
        with contextlib.suppress(Closed, OSError):
            if way == "farewell":
                self.client.close()
            elif way == "half a message":
                self.client.raw(query("select 1")[:self.chance.randint(1, 12)])
            elif way == "in a query":
                self.client.send(query("select pg_sleep(0.2)"))
            elif way == "batch":
                self.client.send(parse("", "select 1"), bind("", ""), execute())
            elif way == "half close":
                self.half_close()
            if way in ("reset", "half a message") and self.chance.random() < 0.7:
                self.reset()

    def half_close(self):
        nonce = self.nonce()
        self.client.send(query(f"select '{nonce}'"))
        self.client.socket.shutdown(socket.SHUT_WR)
        try:
            if answer := self.answered(self.until_ready()):
                self.check(answer.rows, [(nonce,)], "half-closed")
        except (TimeoutError, socket.timeout):
            raise Wrong(f"client {self.number}: no answer on a half-closed connection") from None


class Run:
    """One run: the servers, the people, the faults, and the verdict."""

    def __init__(self, seed, seconds, clients, say=print):
        self.seed = seed
        self.seconds = seconds
        self.say = say
        self.over = threading.Event()
        self.bank = Bank(clients)
        self.chance = random.Random(f"{seed}/faults")
        self.faults = collections.Counter()
        self.parts = contextlib.ExitStack()
        self.people = []

    def __enter__(self):
        with contextlib.ExitStack() as parts:
            self.pg = PostgreSQL()
            parts.callback(self.pg.remove)
            self.pg.run(f"SET ROLE app; {SCHEMA}; RESET ROLE")
            self.pg.run("INSERT INTO counter SELECT g, 0 FROM generate_series(0, %s) g", len(self.bank.ledgers) - 1)
            self.relay = BreakingRelay(self.pg.address, self.seed)
            parts.callback(self.relay.end)
            self.postern = Postern(
                self.relay.address, {"pool": {"size": POOL_SIZE}, "cache": {"memory": CACHE_MEMORY}})
            parts.callback(self.postern.remove)
            self.people = [Person(number, self) for number in range(len(self.bank.ledgers))]
            self.parts = parts.pop_all()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.parts.close()

    def go(self):
        """Faults for a while, then calm, then the verdict; Wrong says what was found."""
        before = self.resources()
        for person in self.people:
            person.start()
        end = time.monotonic() + self.seconds
        told = restarted = time.monotonic()
        while time.monotonic() < end and not self.failures():
            time.sleep(self.chance.uniform(0.05, 0.7))
            restarts = time.monotonic() - restarted > RESTART_EVERY_SECONDS
            self.break_something("restart" if restarts else None)
            if restarts:
                restarted = time.monotonic()
            if time.monotonic() - told > 60:
                told = time.monotonic()
                memory = self.resources()["memory"] >> 20
                self.say(f"{end - told:.0f} s to go, {memory} MiB: {self.summary()}")
        self.relay.tell("calm")
        self.over.set()
        self.finish()
        self.tell_failures()
        self.check_books()
        self.check_resources(before)
        return self.summary()

    def break_something(self, what=None):
        what = what or self.chance.choices(
            ["terminate", "terminate all", "cancel", "cut", "stall"], [8, 1, 4, 1, 2])[0]
        self.faults[what] += 1
        ours = "from pg_stat_activity where usename in ('app', 'alice', 'bob', 'postern')"
        try:
            if what == "terminate":
                self.pg.run(f"select pg_terminate_backend(pid) from (select pid {ours} order by random() limit 1) t")
            elif what == "terminate all":
                self.pg.run(f"select pg_terminate_backend(pid) {ours}")
            elif what == "cancel":
                self.pg.run(f"select pg_cancel_backend(pid) from (select pid {ours} order by random() limit 1) t")
            elif what == "restart":
                self.pg.stop(self.chance.choice([signal.SIGINT, signal.SIGQUIT]))
                self.pg.start()
            else:
                self.relay.tell(what)
        except OSError as error:
            raise Wrong(f"the fault {what} could not be made: {error}") from None

    def failures(self):
        return [person for person in self.people if person.failure]

    def tell_failures(self):
        if failed := self.failures():
            raise Wrong("\n".join(f"{type(one.failure).__name__}: {one.failure}" for one in failed))

    def finish(self):
        """Every client comes to its end, now that nothing breaks any more."""
        end = time.monotonic() + AFTER_FAULTS_SECONDS
        for person in self.people:
            person.join(max(0.0, end - time.monotonic()))
        stuck = [f"client {one.number} is {one.doing}" for one in self.people if one.is_alive()]
        if stuck:
            raise Wrong("; ".join(stuck))

    def check_books(self):
        """What is in the database against what the clients were told."""
        def settled():
            return self.pg.value(
                "select count(*) from pg_stat_activity where usename <> 'postgres' and state <> 'idle'"
                " and query not like '%%pg_catalog%%'") == 0

        eventually(settled, "PostgreSQL's rest", 60)
        rows = collections.defaultdict(collections.Counter)
        for client, n in self.pg.run("select client, n from ledger"):
            rows[client][n] += 1
        counters = dict(self.pg.run("select client, value from counter"))
        for number, ledger in enumerate(self.bank.ledgers):
            found = rows[number]
            twice = [n for n, times in found.items() if times > 1]
            lost = [n for n in ledger.acknowledged if not found[n]]
            made_up = [n for n in found if found[n] and n not in ledger.acknowledged | ledger.unknown]
            if twice or lost or made_up or counters[number] != sum(found.values()):
                raise Wrong(f"client {number}: ran twice {twice}, acknowledged and lost {lost}, rolled back and there"
                            f" {made_up}; counter {counters[number]}, rows {sum(found.values())}")

    def resources(self):
        pid = self.postern.process.pid
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        return {"descriptors": len(os.listdir(f"/proc/{pid}/fd")),
                "memory": int(re.search(r"VmRSS:\s+(\d+)", text)[1]) << 10}

    def state(self):
        """What Postern says of itself, for who asks why somebody waits."""
        try:
            with Client(self.postern.address, database="postern") as console:
                return "\n".join(
                    f"{what}\n" + "\n".join(" ".join(map(str, row)) for row in console.rows(f"show {what}"))
                    for what in ("clients", "servers", "pools"))
        except (OSError, Closed, Refused) as error:
            return f"its console does not answer: {error}"

    def check_resources(self, before):
        """Everybody can work, and nothing is left over."""
        for user, password in USERS.items():
            for number in range(2 * POOL_SIZE):
                with Client(self.postern.address, user=user, password=password) as client:
                    answer = client.query(f"select {number}, count(*) from counter")
                    if answer.rows != [(str(number), str(len(self.people)))]:
                        raise Wrong(f"{user} is answered {answer.rows} {answer.error}")
        with Client(self.postern.address, database="postern") as console:
            eventually(lambda: len(console.rows("show clients")) <= 1, "the clients' end", 30)
            eventually(lambda: all(row[3] == "idle" for row in console.rows("show servers")), "idle servers", 30)
            servers = console.rows("show servers")
        if len(servers) > POOL_SIZE * len(USERS):
            raise Wrong(f"{len(servers)} servers of at most {POOL_SIZE * len(USERS)}")
        room = POOL_SIZE * len(USERS) + 4
        eventually(lambda: self.resources()["descriptors"] <= before["descriptors"] + room, "closed descriptors", 30)
        grown = self.resources()["memory"] - before["memory"]
        self.say(f"memory grew by {grown >> 20} MiB, descriptors from {before['descriptors']}"
                 f" to {self.resources()['descriptors']}")
        if not SANITIZED and grown > GROWTH_MAX:
            raise Wrong(f"Postern's memory has grown by {grown >> 20} MiB")

    def summary(self):
        done = sum((person.counts for person in self.people), collections.Counter())
        acknowledged = sum(len(one.acknowledged) for one in self.bank.ledgers)
        unknown = sum(len(one.unknown) for one in self.bank.ledgers)
        return f"{acknowledged} commits, {unknown} unknown; {dict(sorted(done.items()))}; faults {dict(self.faults)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", default=str(random.SystemRandom().randrange(1 << 32)))
    parser.add_argument("--clients", type=int, default=24)
    options = parser.parse_args()

    def say(text):
        print(text, flush=True)

    say(f"seed {options.seed}")
    with Run(options.seed, options.seconds, options.clients, say) as run:
        try:
            say(run.go())
        except AssertionError as error:
            sys.exit(f"seed {options.seed}: {error}\n{run.summary()}\npostern's log:\n{run.postern.log_text(6000)}")


if __name__ == "__main__":
    main()
