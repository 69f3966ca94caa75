"""The fixed load: which request is made by whom, in what order. Drawn from a seed, described in README.md.

Two plans of the same data, seed and length are equal, so what one version of Postern makes of a plan can be
compared with what the next one does.
"""

import itertools
import random

import data

ACTIVE_PROJECTS = 8
USERS_A_PROJECT = 2
USER_SKEW = 1.4
ISSUE_SKEW = 1.6
POPULAR_ISSUES = 150  # newest first, per project; requests for single issues stay within these
WORDS = ("build", "error", "model", "memory", "import", "test")

# Share of the reads, and the statements that one of them takes (set_config and transaction control apart).
READS = {
    "list": (28, 6),
    "issue": (20, 5),
    "board": (20, 6),
    "comments": (10, 5),
    "counts": (14, 6),
    "mine": (4, 2),
    "projects": (2, 2),
    "report": (2, 4),
}
# Share of the writes, and their statements, with those of the reads that check them (load.py).
WRITES = {
    "comment": (50, 4 + 9),
    "edit": (22, 4 + 9),
    "move": (20, 4 + 9),
    "create": (8, 3 + 14),
}


class Zipf:
    """Ranks 0 … n-1, rank r with weight 1 / (r + 1) ** skew."""

    def __init__(self, n, skew):
        self.ranks = range(n)
        self.weights = list(itertools.accumulate((rank + 1) ** -skew for rank in self.ranks))

    def draw(self, rng):
        return rng.choices(self.ranks, cum_weights=self.weights)[0]


class World:
    """What of the data a plan needs: who works where and as what, and the issues that people look at."""

    def __init__(self, cursor):
        projects = list(range(1, ACTIVE_PROJECTS + 1))
        users = [project + data.PROJECTS * index for index in range(USERS_A_PROJECT) for project in projects]
        random.Random(11).shuffle(users)
        self.users = users  # by rank
        cursor.execute(
            "SELECT user_id, project_id FROM project_members WHERE user_id = ANY(%s) AND project_id <= %s ORDER BY 1, 2",
            (users, ACTIVE_PROJECTS),
        )
        self.projects = {user: [data.home_project(user)] for user in users}
        self.team = {project: [] for project in projects}
        for user, project in cursor.fetchall():
            self.team[project].append(user)
            if project not in self.projects[user]:
                self.projects[user].append(project)
        self.issues = {}
        for project in projects:
            cursor.execute(
                "SELECT id FROM issues WHERE project_id = %s ORDER BY created_at DESC, id DESC LIMIT %s",
                (project, POPULAR_ISSUES),
            )
            self.issues[project] = [row[0] for row in cursor.fetchall()]
        # Who may edit what (policies/matrix.yaml). None of the load's writes changes any of it.
        cursor.execute("SELECT id FROM users WHERE id = ANY(%s) AND role = 'admin' AND is_active", (users,))
        self.administrators = {row[0] for row in cursor.fetchall()}
        cursor.execute("SELECT user_id, project_id FROM project_members WHERE user_id = ANY(%s) AND role = 'manager'", (users,))
        self.managers = set(cursor.fetchall())
        cursor.execute(
            "SELECT id, reporter_id, assignee_id FROM issues WHERE id = ANY(%s)",
            ([issue for issues in self.issues.values() for issue in issues],),
        )
        self.people_of = {row[0]: row[1:] for row in cursor.fetchall()}
        managers = {user for user, _ in self.managers} - self.administrators
        if not self.administrators or not managers or len(managers) == len(users):
            raise ValueError("the load's people are not plain members, managers and an administrator: the data was made otherwise")

    def may_edit(self, user, project, issue):
        """Whether the matrix lets this member of the project edit and move this issue of it."""
        return user in self.administrators or (user, project) in self.managers or user in self.people_of[issue]


class Operation:
    """One request; `arguments` is what its kind needs (load.py), `allowed` what the matrix says of it."""

    __slots__ = ("kind", "user", "project", "issue", "arguments", "allowed")

    def __init__(self, kind, user, project, issue=None, arguments=None, allowed=True):
        self.kind = kind
        self.user = user
        self.project = project
        self.issue = issue
        self.arguments = arguments
        self.allowed = allowed

    @property
    def is_write(self):
        return self.kind in WRITES


class Drawer:
    def __init__(self, world, seed):
        self.world = world
        self.rng = random.Random(seed)
        self.user_zipf = Zipf(len(world.users), USER_SKEW)
        self.issue_zipf = Zipf(POPULAR_ISSUES, ISSUE_SKEW)
        self.word_zipf = Zipf(len(WORDS), 1.3)

    def _who_and_where(self):
        user = self.world.users[self.user_zipf.draw(self.rng)]
        projects = self.world.projects[user][:3]
        project = projects[0] if self.rng.random() < 0.85 else self.rng.choice(projects)
        return user, project

    def _issue(self, project):
        issues = self.world.issues[project]
        return issues[self.issue_zipf.draw(self.rng) % len(issues)]

    def read(self):
        rng = self.rng
        kind = rng.choices(list(READS), weights=[share for share, _ in READS.values()])[0]
        user, project = self._who_and_where()
        if kind == "list":
            return Operation(kind, user, project, arguments=self._list_arguments(user))
        if kind in ("issue", "comments"):
            return Operation(kind, user, project, self._issue(project))
        return Operation(kind, user, project)

    def _list_arguments(self, user):
        rng = self.rng
        page = rng.choices((1, 2, 3), weights=(85, 10, 5))[0]
        search = "&q=" + WORDS[self.word_zipf.draw(rng)]
        filtered = rng.choices(("", "&status=open", f"&assignee={user}", search), weights=(70, 15, 12, 3))[0]
        return f"?page={1 if filtered == search else page}{filtered}"

    def writes(self):
        """A write that is allowed, after those of its kind that are tried by who may not."""
        kind = self.rng.choices(list(WRITES), weights=[share for share, _ in WRITES.values()])[0]
        while True:
            operation = self._write(kind)
            yield operation
            if operation.allowed:
                return

    def _write(self, kind):
        rng = self.rng
        user, project = self._who_and_where()
        team = [other for other in self.world.team[project] if other != user] or [user]
        witness = rng.choice(team)  # who has to see it
        serial = rng.randrange(1 << 30)
        if kind == "create":
            body = {"title": f"Reported in the field: case {serial}", "description": "Seen twice.", "issue_type": "bug"}
            return Operation(kind, user, project, arguments=(body, witness))
        issue = self._issue(project)
        body = {
            "comment": lambda: {"body": f"Looked into it again, see run {serial}."},
            "edit": lambda: {"title": f"Edited title {serial}", "priority": rng.choice(data.PRIORITIES)},
            "move": lambda: {"status": rng.choice(data.STATUSES), "position": serial},
        }[kind]()
        allowed = kind == "comment" or self.world.may_edit(user, project, issue)
        return Operation(kind, user, project, issue, (body, witness), allowed)


def draw(world, seed, statements, statements_a_write):
    """Requests that take about so many statements, one write that is allowed in `statements_a_write` (0: none) of them."""
    drawer = Drawer(world, seed)
    operations = []
    issued = 0
    next_write = statements_a_write
    while issued < statements:
        if statements_a_write and issued >= next_write:
            drawn = list(drawer.writes())
            next_write += statements_a_write
            issued += sum(WRITES[operation.kind][1] for operation in drawn)
            operations += drawn
        else:
            operation = drawer.read()
            issued += READS[operation.kind][1]
            operations.append(operation)
    return operations
