"""Sends a plan to a backend, and checks that nothing read is older than what was known when the read began.

Known is what a write was acknowledged with, and what an earlier read has already shown: versions of issues, numbers
of comments, numbers of issues in a project only ever grow. A read that shows less than what was known before
it was sent is stale. So is a row of a known version with other contents.

Who may write what is known too (plan.World): an edit that the matrix denies has to be answered 409, one that it allows only
when somebody else wrote the same at the same time.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import time

import asyncpg
import psycopg2

CLIENTS = 6
STALLED_SECONDS = 60


class Known:
    """A lower bound that only grows, and what it was at any earlier moment."""

    def __init__(self):
        self.moment = 0
        self._bounds = {}

    def begin(self):
        """The moment that a read begins."""
        return self.moment

    def learn(self, key, value):
        history = self._bounds.setdefault(key, [])
        if not history or history[-1][1] < value:
            self.moment += 1
            history.append((self.moment, value))

    def at(self, key, moment):
        """What was known at that moment; None: nothing."""
        for learnt, value in reversed(self._bounds.get(key, ())):
            if learnt <= moment:
                return value
        return None


class Checks:
    """What is known, and how many answers were compared with it. One answer of one SELECT is one check."""

    def __init__(self):
        self.known = Known()
        self.contents = {}
        self.checked = 0
        self.stale = 0
        self.unexpected = 0
        self.examples = []
        self.rivals = {}

    def _complain(self, text):
        self.stale += 1
        self._note(text)

    def expected(self, right, text):
        """Whether a write was answered as the matrix says, and refused only where it, or somebody else, was in the way."""
        if not right:
            self.unexpected += 1
            self._note(text)

    def _note(self, text):
        if len(self.examples) < 10:
            self.examples.append(text)

    @contextlib.contextmanager
    def writing(self, key):
        """Yields a list which is not empty once somebody else has been writing the same during this."""
        mine = []
        others = self.rivals.setdefault(key, [])
        for met in others:
            met.append(key)
        mine += [key] if others else []
        others.append(mine)
        try:
            yield mine
        finally:
            others[:] = [met for met in others if met is not mine]

    def begin(self):
        return self.known.begin()

    def bounds(self, where, moment, pairs):
        """One answer's values against what was known; a missing row has the value None."""
        compared = False
        wrong = None
        for key, value in pairs:
            bound = self.known.at(key, moment)
            if bound is not None:
                compared = True
                if value is None or value < bound:
                    wrong = f"{where}: {key} is {value}, known was {bound}"
            if value is not None:
                self.known.learn(key, value)
        self.checked += compared
        if wrong:
            self._complain(wrong)

    def issues(self, where, moment, rows):
        """One answer's issues, as the backend or checker shows them."""
        self.bounds(where, moment, [(("version", row["id"]), row["version"]) for row in rows])
        for row in rows:
            contents = (row["title"], row["status"], row["priority"])
            known = self.contents.setdefault((row["id"], row["version"]), contents)
            if known != contents:
                self._complain(f"{where}: issue {row['id']} version {row['version']} is {contents}, was {known}")


class Totals:
    """What one phase came to."""

    def __init__(self):
        self.latencies = []
        self.latencies_by_kind = {}
        self.reads = 0
        self.writes = 0
        self.operations = 0
        self.requests = 0
        self.conflicts = 0
        self.denied = 0
        self.seconds = 0.0

    @property
    def statements(self):
        return self.reads + self.writes + self.denied

    def add_latency(self, kind, seconds):
        self.latencies.append(seconds)
        self.latencies_by_kind.setdefault(kind, []).append(seconds)


def percentile(values, share):
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class HttpConnection:
    """One kept-alive connection to the backend; as little work a request as possible."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def request(self, method, path, user, body=None):
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        content = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: tracker\r\nX-User-Id: {user}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + content)
        header = await self.reader.readuntil(b"\r\n\r\n")
        lines = header.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ", 2)[1])
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        answer = await self.reader.readexactly(int(fields.get("content-length", 0)))
        reads, _, writes = fields.get("x-db-statements", "0 0").partition(" ")
        return status, answer, int(reads), int(writes)

    def close(self):
        if self.writer is not None:
            self.writer.close()


class RequestFailed(Exception):
    pass


CHECK_ISSUE = "SELECT id, version, title, status, priority FROM issues WHERE id = {}"
CHECK_COMMENTS = "SELECT count(*) FROM comments WHERE issue_id = {}"


class Checkers:
    """Connections of their own to the same DSN: two of each driver, so that one can read before a write what the
    other reads after it, in the same words. Who is asking, one driver says for its session, the other for each transaction."""

    def __init__(self, url):
        self.url = url
        self.turn = 0

    async def open(self):
        self.asyncpg = [await asyncpg.connect(self.url) for _ in range(2)]
        self.psycopg2 = [psycopg2.connect(self.url) for _ in range(2)]
        self.threads = concurrent.futures.ThreadPoolExecutor(2)
        self.locks = {}

    async def close(self):
        for connection in self.asyncpg:
            await connection.close()
        for connection in self.psycopg2:
            connection.close()
        self.threads.shutdown(wait=False)  # one that hangs ends with its server

    def next_driver(self):
        self.turn += 1
        return (self.asyncpg, self.psycopg2)[self.turn % 2]

    async def read(self, connection, user, issue):
        """(the issue's row or None, its number of comments)."""
        async with self.locks.setdefault(connection, asyncio.Lock()):
            if isinstance(connection, asyncpg.Connection):
                return await self._read_asyncpg(connection, user, issue)
            return await asyncio.get_running_loop().run_in_executor(
                self.threads, self._read_psycopg2, connection, user, issue
            )

    @staticmethod
    async def _read_asyncpg(connection, user, issue):
        await connection.execute("SELECT set_config('app.user_id', $1, false)", str(user))
        async with connection.transaction():
            row = await connection.fetchrow(CHECK_ISSUE.format("$1"), issue)
        comments = await connection.fetchval(CHECK_COMMENTS.format("$1"), issue)
        return dict(row) if row is not None else None, comments

    @staticmethod
    def _read_psycopg2(connection, user, issue):
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT set_config('app.user_id', %s, true)", (str(user),))
            cursor.execute(CHECK_ISSUE.format("%s"), (issue,))
            row = cursor.fetchone()
            cursor.execute(CHECK_COMMENTS.format("%s"), (issue,))
            comments = cursor.fetchone()[0]
        return dict(zip(("id", "version", "title", "status", "priority"), row)) if row is not None else None, comments


class Client:
    """One of the people at once: takes the plan's next request, sends it, checks the answer."""

    def __init__(self, port, checkers, checks, totals):
        self.http = HttpConnection(port)
        self.checkers = checkers
        self.checks = checks
        self.totals = totals

    async def run(self, operations):
        for operation in operations:
            self.totals.operations += 1
            if operation.is_write:
                await self.write(operation)
            else:
                await self.read(operation.kind, operation.user, operation.project, operation.issue, operation.arguments)
        self.http.close()

    async def send(self, kind, method, path, user, body=None):
        """The answer; None: 409."""
        begun = time.perf_counter()
        try:
            status, answer, reads, writes = await self.http.request(method, path, user, body)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise RequestFailed(f"{method} {path} as user {user} was not answered by the backend: {error}") from error
        self.totals.add_latency(kind, time.perf_counter() - begun)
        self.totals.requests += 1
        self.totals.reads += reads
        if status == 409:
            return None
        self.totals.writes += writes
        if status not in (200, 201):
            raise RequestFailed(f"{method} {path} as user {user} answered {status}: {answer[:300].decode(errors='replace')}")
        return json.loads(answer)

    PATHS = {
        "list": "/projects/{project}/issues{arguments}",
        "issue": "/issues/{issue}",
        "board": "/projects/{project}/board",
        "comments": "/issues/{issue}/comments",
        "counts": "/projects/{project}/counts",
        "mine": "/me/issues",
        "projects": "/projects",
        "report": "/projects/{project}/report",
    }

    async def read(self, kind, user, project, issue=None, arguments=None):
        path = self.PATHS[kind].format(project=project, issue=issue, arguments=arguments)
        moment = self.checks.begin()
        answer = await self.send(kind, "GET", path, user)
        check = getattr(self, f"check_{kind}", None)
        if check is not None:
            check(f"GET {path} as user {user}", moment, answer, project, arguments)
        return answer

    def check_list(self, where, moment, answer, project, arguments):
        rows = answer["items"]
        self.checks.issues(where, moment, rows)
        self.checks.bounds(where, moment, [(("comments", row["id"]), row["comments"]) for row in rows])
        if arguments.count("=") == 1:  # no filter: nothing is ever deleted
            self.checks.bounds(where, moment, [(("issues", project), answer["total"])])

    def check_issue(self, where, moment, answer, project, arguments):
        self.checks.issues(where, moment, [answer])
        self.checks.bounds(where, moment, [(("comments", answer["id"]), answer["comments"])])

    def check_board(self, where, moment, answer, project, arguments):
        rows = [row for column in answer["columns"].values() for row in column]
        self.checks.issues(where, moment, rows)

    def check_comments(self, where, moment, answer, project, arguments):
        self.checks.issues(where, moment, [answer["issue"]])
        key = ("comments", answer["issue"]["id"])
        self.checks.bounds(where, moment, [(key, answer["total"])])
        if answer["total"] <= 20:  # all are on the page
            self.checks.bounds(where, moment, [(key, len(answer["items"]))])

    def check_counts(self, where, moment, answer, project, arguments):
        self.checks.bounds(where, moment, [(("issues", project), sum(answer["by_status"].values()))])

    def check_mine(self, where, moment, answer, project, arguments):
        self.checks.issues(where, moment, answer)

    async def check_directly(self, connection, user, issue):
        moment = self.checks.begin()
        row, comments = await self.checkers.read(connection, user, issue)
        self.totals.reads += 2
        where = f"checking issue {issue} as user {user}"
        if row is None:
            self.checks.bounds(where, moment, [(("version", issue), None)])
        else:
            self.checks.issues(where, moment, [row])
        self.checks.bounds(where, moment, [(("comments", issue), comments)])

    async def write(self, operation):
        """The same is read through another connection before the write and after it, and by somebody else."""
        body, witness = operation.arguments
        before, after = self.checkers.next_driver()
        if operation.kind == "create":
            return await self.create(operation, body, witness, after)
        issue = operation.issue
        await self.check_directly(before, witness, issue)
        method, path = {
            "comment": ("POST", f"/issues/{issue}/comments"),
            "edit": ("PATCH", f"/issues/{issue}"),
            "move": ("POST", f"/issues/{issue}/move"),
        }[operation.kind]
        known_comments = self.checks.known.at(("comments", issue), self.checks.begin()) or 0
        answer = await self.send_write(operation, method, path, body, issue)
        if answer is None:
            if operation.allowed:
                return
        elif operation.kind == "comment":
            self.checks.known.learn(("comments", issue), known_comments + 1)
        else:
            self.checks.known.learn(("version", issue), answer["version"])
            self.checks.contents[(issue, answer["version"])] = (answer["title"], answer["status"], answer["priority"])
        await self.check_directly(after, witness, issue)
        await self.read("issue", witness, operation.project, issue)

    async def send_write(self, operation, method, path, body, key):
        """The answer, or None for a refusal: the matrix's, or that of who was second."""
        where = f"{method} {path} as user {operation.user}"
        if not operation.allowed:
            answer = await self.send(operation.kind, method, path, operation.user, body)
            self.totals.denied += answer is None
            self.checks.expected(answer is None, f"{where} was done, which the matrix denies")
            return answer
        what = "contents" if operation.kind in ("edit", "move") else operation.kind
        with self.checks.writing((what, key)) as rivals:
            answer = await self.send(operation.kind, method, path, operation.user, body)
        if answer is None:
            self.totals.conflicts += 1
            self.checks.expected(rivals, f"{where} was answered 409, which the matrix allows and nobody contested")
        return answer

    async def create(self, operation, body, witness, checker):
        project = operation.project
        counted = await self.read("counts", witness, project)
        total = sum(counted["by_status"].values())
        answer = await self.send_write(operation, "POST", f"/projects/{project}/issues", body, project)
        if answer is None:
            return
        self.checks.known.learn(("version", answer["id"]), answer["version"])
        self.checks.known.learn(("issues", project), total + 1)
        await self.check_directly(checker, witness, answer["id"])
        await self.read("counts", witness, project)


async def run_phase(port, url, operations, checks, progress=None, clients=CLIENTS):
    """Sends all operations, in their order, over so many connections at once."""
    totals = Totals()
    checkers = Checkers(url)
    await checkers.open()
    remaining = iter(operations)
    begun = time.perf_counter()
    people = [Client(port, checkers, checks, totals) for _ in range(clients)]
    working = [asyncio.ensure_future(person.run(remaining)) for person in people]
    try:
        waiting = set(working)
        moved = (begun, 0)
        while waiting:
            done, waiting = await asyncio.wait(waiting, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            now = time.perf_counter()
            if totals.requests != moved[1]:
                moved = (now, totals.requests)
            elif waiting and now - moved[0] > STALLED_SECONDS:
                raise RequestFailed(f"no request was answered for {STALLED_SECONDS} s")
            if progress is not None:
                progress(totals.operations, now - begun)
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        await checkers.close()
    totals.seconds = time.perf_counter() - begun
    return totals
