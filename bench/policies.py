"""What the tracker's row-level security costs each statement of its backend, beside the same without it (`policies`)."""

import ctypes
import dataclasses
import json
import pathlib
import random
import re
import statistics
import time

import harness
import policies_data
import search

GUARDED = "tracker_app"
FREE = "tracker_free"       # the same privileges, and BYPASSRLS: the plans of a database without row-level security
BARS = {"2 projects": 1.5, "10 projects": 1.5, "500 projects": 3.0}
ISSUE = ("i.id, i.project_id, i.sprint_id, i.number, i.title{}, i.status, i.priority, i.issue_type, i.reporter_id, i.assignee_id,"
         " i.story_points, i.position, i.version, i.created_at, i.updated_at")
SHORT, WHOLE = ISSUE.format(""), ISSUE.format(", i.description")
PERSON = "{0}.id, {0}.email, {0}.name, {0}.role, {0}.password_hash, {0}.is_active, {0}.created_at"
PROJECT = "p.id, p.key, p.name, p.description, p.owner_id, p.created_at"
PAGE = "WHERE i.project_id = :project ORDER BY i.created_at DESC, i.id DESC LIMIT 25"

# As deploy/tracker/backend asks. Those with a bar come first.
STATEMENTS = {
    "point": f"SELECT {WHOLE} FROM issues i WHERE i.id = :issue",
    "list": f"SELECT {SHORT} FROM issues i {PAGE}",
    "list with assignees": f"SELECT {SHORT}, {PERSON.format('u')} FROM issues i LEFT JOIN users u ON u.id = i.assignee_id {PAGE}",
    "point with people": (
        f"SELECT {WHOLE}, {PROJECT}, s.id, s.project_id, s.name, s.goal, s.status, s.start_date, s.end_date, {PERSON.format('r')},"
        f" {PERSON.format('a')} FROM issues i LEFT JOIN projects p ON p.id = i.project_id LEFT JOIN sprints s ON s.id = i.sprint_id"
        " LEFT JOIN users r ON r.id = i.reporter_id LEFT JOIN users a ON a.id = i.assignee_id WHERE i.id = :issue"),
    "total": "SELECT count(*) FROM issues i WHERE i.project_id = :project",
    "user": f"SELECT {PERSON.format('u')} FROM users u WHERE u.id = :me",
    "membership": "SELECT m.project_id, m.user_id, m.role, m.created_at FROM project_members m WHERE m.project_id = :project AND m.user_id = :me",
    "project": f"SELECT {PROJECT} FROM projects p WHERE p.id = :project",
    "comments with authors": (
        f"SELECT c.id, c.issue_id, c.author_id, c.body, c.created_at, c.updated_at, {PERSON.format('u')} FROM comments c"
        " LEFT JOIN users u ON u.id = c.author_id WHERE c.issue_id = :commented ORDER BY c.created_at, c.id LIMIT 20"),
}
WITH_BAR = ("point", "list", "list with assignees", "point with people")
WHO_ONLY = ("user",)    # one's own row: nobody's projects are asked for
EXECUTIONS = 700        # of a sample
WARMING = 300           # before it: the plan is made, the processor has woken up
LIBRARY = "libpq.so.5"
METRICS = {"cpu_us": "CPU", "latency_us": "latency"}
# What the policies of one table ask before they look at a row, without any table.
NOTHING = "SELECT 1"
WHO = "SELECT 1 WHERE (SELECT postern.user_id()) IS NOT NULL"
IDENTITY = WHO + " AND :project = ANY ((SELECT postern.project_ids())::integer[])"


@dataclasses.dataclass
class Asker:
    """Who asks, and what he may see of the data."""

    breadth: str
    user: int
    projects: int
    issues: int

    def values(self, rng):
        """By the names that statements have for them."""
        project = policies_data.PROJECTS // self.projects * rng.randint(1, self.projects)
        first = (project - 1) * policies_data.BACK % policies_data.PROJECTS     # the project's issues lie so many apart from here
        last = self.issues // policies_data.PROJECTS - 1
        return {"me": self.user, "project": project, "issue": first + policies_data.PROJECTS * rng.randint(first == 0, last),
                "commented": first + policies_data.PROJECTS * policies_data.COMMENTED * rng.randint(1, last // policies_data.COMMENTED)}


class Session:
    """A login by libpq itself: statements by the extended protocol, and the CPU time of the backend that runs them."""

    def __init__(self, folder, role, user):
        self.library = ctypes.CDLL(LIBRARY)
        for name in ("PQconnectdb", "PQexec", "PQprepare", "PQgetResult"):
            getattr(self.library, name).restype = ctypes.c_void_p
        for name in ("PQresultErrorMessage", "PQerrorMessage"):
            getattr(self.library, name).restype = ctypes.c_char_p
        self.link = ctypes.c_void_p(self.library.PQconnectdb(
            f"host={folder} dbname=tracker user={role} options='-c app.user_id={user}'".encode()))
        if self.library.PQstatus(self.link):
            raise harness.Unusable(self.library.PQerrorMessage(self.link).decode())
        self.clock = pathlib.Path(f"/proc/{self.library.PQbackendPID(self.link)}/schedstat")

    def close(self):
        self.library.PQfinish(self.link)

    def _rows(self, result):
        result = ctypes.c_void_p(result)
        if self.library.PQresultStatus(result) not in (1, 2):   # a command is done, or rows are there
            raise harness.Unusable(self.library.PQresultErrorMessage(result).decode())
        rows = self.library.PQntuples(result)
        self.library.PQclear(result)
        return rows

    def _answer(self):
        """Stays awake until it is there: on a virtual machine, waking one who sleeps takes tens of µs of the backend's own time."""
        while self.library.PQisBusy(self.link):
            self.library.PQconsumeInput(self.link)
        return self.library.PQgetResult(self.link)

    def spent(self, statement, values, prepared):
        """With each of the values in turn: microseconds of the backend's CPU time an execution, the median latency, how many rows there were."""
        names = sorted(set(re.findall(r"(?<!:):(\w+)", statement)))
        text = re.sub(r"(?<!:):(\w+)", lambda found: f"${names.index(found[1]) + 1}", statement).encode()
        types = (ctypes.c_uint * max(1, len(names)))(*[23] * len(names))   # integer
        latencies = []
        self._rows(self.library.PQexec(self.link, b"DEALLOCATE ALL"))
        if prepared:
            self._rows(self.library.PQprepare(self.link, b"q", text, len(names), types))
        begun, rows = self._clock(), 0
        for number, one in enumerate(values):
            if number == WARMING:
                begun, rows, latencies = self._clock(), 0, []
            given = (ctypes.c_char_p * max(1, len(names)))(*[str(one[name]).encode() for name in names])
            asked = time.perf_counter()
            if prepared:
                self.library.PQsendQueryPrepared(self.link, b"q", len(names), given, None, None, 0)
            else:
                self.library.PQsendQueryParams(self.link, text, len(names), types, given, None, None, 0)
            rows += self._rows(self._answer())
            latencies.append((time.perf_counter() - asked) * 1e6)
            self._answer()  # there is none any more: ready for the next
        return (self._clock() - begun) / (len(values) - WARMING), statistics.median(latencies), rows

    def _clock(self):
        return int(self.clock.read_text().split()[0]) / 1e3


def measured(cluster, asker, options):
    """CPU time and latency of each side of each statement, of the quietest round each: what disturbs only ever adds."""
    sides = {("nothing", FREE): NOTHING, ("who", GUARDED): WHO, ("identity", GUARDED): IDENTITY}
    for name, statement in STATEMENTS.items():
        if not options.case or name in options.case:
            sides[name, FREE] = sides[name, GUARDED] = statement
    sessions = {role: Session(cluster.folder, role, asker.user) for role in (FREE, GUARDED)}
    samples = {side: [] for side in sides}
    rng = random.Random(asker.breadth)
    for _ in range(options.rounds):
        values = [asker.values(rng) for _ in range(WARMING + EXECUTIONS)]
        rows = {}
        for (name, role), statement in sides.items():
            *spent, rows[name, role] = sessions[role].spent(statement, values, options.protocol == "prepared")
            samples[name, role].append(spent)
            if rows[name, role] != rows.get((name, FREE), rows[name, role]) or not rows[name, role] and name != "membership":
                raise harness.Unusable(f"{asker.breadth}, {name}: {rows[name, role]} rows with row-level security, {rows.get((name, FREE))} without")
    for session in sessions.values():
        session.close()
    return {side: dict(zip(METRICS, map(min, zip(*values)))) for side, values in samples.items()}


def rows(cluster, asker, options):
    """The fixed cost of identity, once for a statement's first table, and what each statement takes beyond it."""
    found = measured(cluster, asker, options)
    for metric in METRICS:
        spent = {side: values[metric] for side, values in found.items()}
        fixed = {name: spent[name, GUARDED] - spent["nothing", FREE] for name in ("who", "identity")}
        for name, case in (("who", "who asks"), ("identity", "identity")):
            yield {"bench": "policies", "case": f"{asker.breadth}, {case}", "metric": metric, "fixed": round(fixed[name], 1)}
        for name in STATEMENTS:
            if (name, FREE) in spent:
                guarded, free = spent[name, GUARDED], spent[name, FREE]
                beyond = guarded - fixed["who" if name in WHO_ONLY else "identity"]
                yield {"bench": "policies", "case": f"{asker.breadth}, {name}", "metric": metric, "with": round(guarded, 1),
                       "without": round(free, 1), "ratio": round(beyond / free, 2), "raw_ratio": round(guarded / free, 2),
                       "bar": BARS.get(asker.breadth) if name in WITH_BAR else None}


def show(row, options):
    if options.json:
        print(json.dumps(row), flush=True)
        return
    line = f"{row['case']:<40} {METRICS[row['metric']]:<8}"
    if "fixed" in row:
        line += f" {row['fixed']:>7.0f} µs, once a statement"
    else:
        bar = f"≤ {row['bar']}" if row["bar"] else ""
        line += f" {row['with']:>7.0f} µs, without {row['without']:>5.0f} µs, ratio {row['ratio']:>5.2f} {bar:<6}"
        line += f" ({row['raw_ratio']:.2f} with identity)"
    print(line, flush=True)


def policies(options):
    with harness.Rig(options.build_folder) as rig:
        cluster = search.Cluster(rig, options.data_folder or rig.folder / "policies")
        cluster.create("tracker", policies_data.schema, rig.program("postern"), lambda link: policies_data.fill(link, options.scale))
        cursor = cluster.connect("tracker").cursor()
        cursor.execute(f"DROP ROLE IF EXISTS {FREE}; CREATE ROLE {FREE} LOGIN BYPASSRLS IN ROLE {GUARDED}")
        cursor.execute("SELECT max(id) FROM issues")
        issues, = cursor.fetchone()
        for breadth, (user, projects) in policies_data.BREADTHS.items():
            for row in rows(cluster, Asker(breadth, user, projects, issues), options):
                show(row, options)
