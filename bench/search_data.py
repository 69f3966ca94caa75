"""An issue tracker's data for `search`: texts out of a Zipf-distributed vocabulary, the same on every run.

Two loads of the same scale are equal row by row. Users 1 to 4 are the ones that search: members of 2, of 10 and of
500 projects, and an administrator.
"""

import datetime
import io
import itertools
import pathlib
import random

import harness

SEED = 20260901
USERS = 10_000
PROJECTS = 2_000
ISSUES = 1_000_000
COMMENTS = 3_000_000
ATTACHMENTS = 100_000
WORDS = 20_000
EVERYWHERE = "error"        # is in 90 % of the descriptions
TITLE_WORDS = (4, 9)
DESCRIPTION_WORDS = (20, 60)
COMMENT_WORDS = (8, 28)
CHUNK = 5_000
FIRST_DAY = datetime.datetime(2024, 1, 8, tzinfo=datetime.timezone.utc)
LAST_DAY = datetime.datetime(2026, 10, 30, tzinfo=datetime.timezone.utc)
BREADTHS = {"2 projects": 1, "10 projects": 2, "500 projects": 3, "administrator": 4}
HERE = pathlib.Path(__file__).resolve().parent
TRACKER = HERE.parent / "deploy" / "tracker"
EARLIER_POLICIES = HERE.parent / "policies" / "earlier" / "rls.sql"


def vocabulary():
    """Made-up words, most frequent first; no two share a stem often enough to matter."""
    rng = random.Random(SEED)
    syllables = [a + b for a in "b c d f g k l m n p r t v z br st tr kl".split() for b in "a e i o u ar on ul".split()]
    words = dict.fromkeys(())
    while len(words) < WORDS:
        word = "".join(rng.choices(syllables, k=rng.choice((2, 3, 3, 4)))) + rng.choice(("k", "p", "m", "g", ""))
        words[word] = None
    return list(words)


def weights():
    return list(itertools.accumulate(1 / (rank + 30) for rank in range(WORDS)))


class Texts:
    """Endless texts of drawn words."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.words = vocabulary()
        self.weights = weights()
        self._drawn, self._at = [], 0

    def text(self, shortest, longest):
        count = self.rng.randint(shortest, longest)
        if self._at + count > len(self._drawn):
            self._drawn, self._at = self.rng.choices(self.words, cum_weights=self.weights, k=200_000), 0
        self._at += count
        return " ".join(self._drawn[self._at - count:self._at])


def sizes(scale):
    """Rows by table at this scale; users and projects shrink with the issues."""
    return {
        "users": max(50, int(USERS * scale)), "projects": max(510, int(PROJECTS * scale)),
        "issues": max(1000, int(ISSUES * scale)), "comments": int(COMMENTS * scale),
        "attachments": int(ATTACHMENTS * scale)}


def users(count):
    for user in range(1, count["users"] + 1):
        role = "admin" if user == BREADTHS["administrator"] else "user"
        yield f"{user}\tuser{user}@example.org\tUser {user}\t{role}\tx\tt\t2024-01-08\n"


def projects(count):
    for project in range(1, count["projects"] + 1):
        yield f"{project}\tP{project}\tProject {project}\t\\N\t5\t2024-01-08\n"


def project_members(count):
    rng = random.Random(SEED + 1)
    for breadth, user in BREADTHS.items():
        if breadth != "administrator":
            for project in rng.sample(range(1, count["projects"] + 1), int(breadth.split()[0])):
                yield f"{project}\t{user}\tdeveloper\t2024-01-08\n"
    for user in range(5, count["users"] + 1):
        for project in rng.sample(range(1, count["projects"] + 1), 10):
            yield f"{project}\t{user}\tdeveloper\t2024-01-08\n"


def issues(count):
    texts = Texts(SEED + 2)
    rng = texts.rng
    numbers = [0] * (count["projects"] + 1)
    for issue in range(1, count["issues"] + 1):
        project = 1 + int(rng.random() * count["projects"])
        numbers[project] += 1
        title = texts.text(*TITLE_WORDS)
        description = texts.text(*DESCRIPTION_WORDS) + (f" {EVERYWHERE}" if rng.random() < 0.9 else "")
        status = rng.choices(("open", "in_progress", "in_review", "resolved", "closed"), (8, 3, 2, 27, 60))[0]
        priority = rng.choices(("low", "medium", "high", "critical"), (20, 50, 22, 8))[0]
        kind = rng.choices(("bug", "feature", "task", "question"), (60, 20, 15, 5))[0]
        person = rng.randint(5, count["users"])
        created = FIRST_DAY + (LAST_DAY - FIRST_DAY) * (issue / count["issues"])
        yield (f"{issue}\t{project}\t\\N\t{numbers[project]}\t{title}\t{description}\t{status}\t{priority}\t{kind}\t{person}\t"
               f"{person}\t\\N\t0\t1\t{created}\t2024-01-08\n")


def comments(count):
    texts = Texts(SEED + 3)
    rng = texts.rng
    for comment in range(1, count["comments"] + 1):
        issue = 1 + int(rng.random() * count["issues"])
        yield f"{comment}\t{issue}\t{rng.randint(5, count['users'])}\t{texts.text(*COMMENT_WORDS)}\t2026-10-01\t2026-10-01\n"


def attachments(count):
    texts = Texts(SEED + 4)
    for attachment in range(1, count["attachments"] + 1):
        issue = 1 + int(texts.rng.random() * count["issues"])
        yield f"{attachment}\t{issue}\t5\t{texts.text(1, 1)}-{attachment}.log\ttext/plain\t1000\t2026-10-01\n"


def load(link, scale):
    """Creates the tracker's schema in an empty database and fills it; every table in transactions of its own."""
    count = sizes(scale)
    cursor = link.cursor()
    cursor.execute("GRANT CREATE ON SCHEMA public TO tracker_owner; SET ROLE tracker_owner")
    cursor.execute((TRACKER / "schema.sql").read_text())
    cursor.execute("RESET ROLE")
    for make in (users, projects, project_members, issues, comments, attachments):
        rows = make(count)
        while chunk := "".join(itertools.islice(rows, CHUNK)):
            cursor.copy_expert(f"COPY {make.__name__} FROM STDIN", io.StringIO(chunk))
        if make is not project_members:
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{make.__name__}', 'id'), max(id)) FROM {make.__name__}")
        harness.say(f"loaded {make.__name__}")
    cursor.execute("SET ROLE tracker_owner; SET maintenance_work_mem = '1GB'")
    cursor.execute((TRACKER / "indexes.sql").read_text())
    cursor.execute(EARLIER_POLICIES.read_text())
    cursor.execute("RESET ROLE")
    harness.say("keys and indexes made")
