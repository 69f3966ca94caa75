"""The issue tracker's data: users, projects, issues and comments of a fixed seed, loaded by COPY.

Titles and bodies come from a CSV of real issue reports where there is one (columns label, title, body),
and are generated in similar shape where not. Everything else is drawn from one seeded generator, so that
two loads of the same size are equal row by row.
"""

import csv
import datetime
import itertools
import os
import pathlib
import random
import re

import psycopg2

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20260901
FIRST_DAY = datetime.datetime(2024, 1, 8, 7, 0, tzinfo=datetime.timezone.utc)
LAST_DAY = datetime.datetime(2026, 10, 30, 18, 0, tzinfo=datetime.timezone.utc)

USERS = 2000
PROJECTS = 60
ISSUES = 100_000
COMMENTS = 300_000
ATTACHMENTS = 20_000
ISSUES_A_SPRINT = 60

STATUSES = ("open", "in_progress", "in_review", "resolved", "closed")
PRIORITIES = ("low", "medium", "high", "critical")
TYPES = {"bug": "bug", "feature": "feature", "question": "question"}


def home_project(user_id):
    """The project that this user mostly works in. pgbench/*.sql know this formula, too."""
    return 1 + (user_id - 1) % PROJECTS


def is_admin(user_id):
    return user_id % 400 == 7


def find_csv(repository):
    """The CSV of real reports, or None."""
    named = os.environ.get("TRACKER_ISSUES_CSV")
    if named:
        path = pathlib.Path(named)
        if not path.is_file():
            raise SystemExit(f"TRACKER_ISSUES_CSV names no file: {named}")
        return path
    path = repository.parent / "shared" / "data" / "issues.csv"
    return path if path.is_file() else None


# Texts


def read_reports(path):
    """(type, title, body) of each report, bodies cut to what a tracker's description usually holds."""
    csv.field_size_limit(1 << 24)
    reports = []
    with open(path, newline="", encoding="utf-8", errors="replace") as file:
        for row in csv.DictReader(file):
            title = " ".join(row["title"].split())[:200]
            body = row["body"].replace("\r", "").replace("\0", "").strip()
            if title and body:
                reports.append((TYPES.get(row["label"], "task"), title, body))
    return reports


def generate_reports(rng, count=1400):
    """Reports of similar shape out of a zipf-distributed vocabulary."""
    syllables = [a + b for a in "b d f g k l m n p r s t v z".split() for b in ("a", "e", "i", "o", "u", "er", "on")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(4000)]
    weights = list(itertools.accumulate(1 / (rank + 2) for rank in range(len(words))))

    def sentence(shortest, longest):
        chosen = rng.choices(words, cum_weights=weights, k=rng.randint(shortest, longest))
        return " ".join(chosen).capitalize()

    reports = []
    for _ in range(count):
        paragraphs = [
            "### " + heading + "\n\n" + ". ".join(sentence(5, 16) for _ in range(rng.randint(1, 5))) + "."
            for heading in ("Description", "Steps to reproduce", "Expected", "Environment")
        ]
        reports.append((rng.choice(("bug", "bug", "feature", "question", "task")), sentence(4, 12), "\n\n".join(paragraphs)))
    return reports


def escape(text):
    """For COPY's text format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "")


def comment_texts(reports):
    texts = []
    for _, _, body in reports:
        for paragraph in re.split(r"\n\s*\n", body):
            paragraph = paragraph.strip()
            if len(paragraph) >= 40:
                texts.append(escape(paragraph[:400]))
    return texts


# Rows


class Dataset:
    """Everything that is drawn, in the order of the tables' foreign keys."""

    def __init__(self, reports, issues=ISSUES, comments=COMMENTS):
        self.rng = random.Random(SEED)
        self.reports = reports
        self.issue_count = issues
        self.comment_count = comments
        self.members = {project: [] for project in range(1, PROJECTS + 1)}
        self._draw_members()
        self._draw_issue_projects()

    def _draw_members(self):
        weights = list(itertools.accumulate((rank + 1) ** -0.7 for rank in range(PROJECTS)))
        for user in range(1, USERS + 1):
            projects = {home_project(user)}
            projects.update(self.rng.choices(range(1, PROJECTS + 1), cum_weights=weights, k=self.rng.choice((0, 1, 1, 2, 2, 4))))
            for project in sorted(projects):
                self.members[project].append(user)

    def _draw_issue_projects(self):
        """Which project each issue, in order of creation, belongs to: sizes are zipf-distributed."""
        weights = [(rank + 1) ** -0.8 for rank in range(PROJECTS)]
        scale = self.issue_count / sum(weights)
        projects = []
        for project, weight in enumerate(weights, start=1):
            projects += [project] * max(ISSUES_A_SPRINT, int(weight * scale))
        projects += [1] * (self.issue_count - len(projects))
        self.rng.shuffle(projects)
        self.issue_projects = projects[: self.issue_count]
        self.sizes = [0] * (PROJECTS + 1)
        for project in self.issue_projects:
            self.sizes[project] += 1
        # Sprints have consecutive numbers within a project: as many as its issues fill, and a planned one.
        self.first_sprint = [0] * (PROJECTS + 1)
        number = 1
        for project in range(1, PROJECTS + 1):
            self.first_sprint[project] = number
            number += self._filled_sprints(project) + 1

    def _filled_sprints(self, project):
        return -(-self.sizes[project] // ISSUES_A_SPRINT)

    def users(self):
        first = "Ada Ben Cleo Dan Eva Finn Gia Hal Ida Jon Kim Lea Max Nia Oli Pia Ray Sam Tia Uwe Vic Wim Yan Zoe".split()
        last = (
            "Adler Brandt Costa Dumas Eklund Falk Grant Holm Ivers Jensen"
            " Klein Lopez Moser Novak Okoye Patel Quist Rossi Silva Tanaka"
        ).split()
        for user in range(1, USERS + 1):
            name = f"{first[user % len(first)]} {last[(user // len(first)) % len(last)]}"
            role = "admin" if is_admin(user) else "manager" if user <= PROJECTS else "user"
            digest = "%064x" % self.rng.getrandbits(256)
            yield f"{user}\tuser{user}@example.org\t{name}\t{role}\tpbkdf2_sha256$600000${digest}\tt\t{FIRST_DAY}\n"

    def projects(self):
        for project in range(1, PROJECTS + 1):
            _, title, body = self.reports[project]
            yield f"{project}\tP{project:02d}\t{escape(title[:60])}\t{escape(body[:300])}\t{project}\t{FIRST_DAY}\n"

    def project_members(self):
        for project, users in self.members.items():
            for user in users:
                role = "manager" if user == project else "developer"
                yield f"{project}\t{user}\t{role}\t{FIRST_DAY}\n"

    def sprints(self):
        for project in range(1, PROJECTS + 1):
            filled = self._filled_sprints(project)
            for index in range(filled + 1):
                status = "completed" if index < filled - 1 else "active" if index == filled - 1 else "planned"
                start = LAST_DAY.date() - datetime.timedelta(days=14 * (filled - 1 - index) + 7)
                end = start + datetime.timedelta(days=13)
                yield f"{self.first_sprint[project] + index}\t{project}\tSprint {index + 1}\t\\N\t{status}\t{start}\t{end}\n"

    def issues(self):
        rng = self.rng
        texts = [(kind, escape(title), escape(body[:700])) for kind, title, body in self.reports]
        span = (LAST_DAY - FIRST_DAY) / self.issue_count
        numbers = [0] * (PROJECTS + 1)
        self.issue_times = []
        for issue, project in enumerate(self.issue_projects, start=1):
            numbers[project] += 1
            number = numbers[project]
            kind, title, body = texts[rng.randrange(len(texts))]
            recent = number > self.sizes[project] - ISSUES_A_SPRINT
            status = rng.choices(STATUSES, weights=(45, 25, 12, 12, 6) if recent else (8, 3, 2, 27, 60))[0]
            priority = rng.choices(PRIORITIES, weights=(20, 50, 22, 8))[0]
            in_sprint = rng.random() < 0.7
            sprint = self.first_sprint[project] + (number - 1) // ISSUES_A_SPRINT if in_sprint else "\\N"
            members = self.members[project]
            reporter = members[int(len(members) * rng.random() ** 2)]
            assignee = members[int(len(members) * rng.random() ** 3)] if rng.random() < 0.8 else "\\N"
            points = rng.choice(("\\N", 1, 2, 3, 5, 8))
            created = FIRST_DAY + span * issue
            updated = created + datetime.timedelta(seconds=rng.randrange(2_000_000))
            self.issue_times.append(created)
            yield (
                f"{issue}\t{project}\t{sprint}\t{number}\t{title}\t{body}\t{status}\t{priority}\t{kind}\t{reporter}\t"
                f"{assignee}\t{points}\t{number * 10}\t1\t{created}\t{updated}\n"
            )

    def comments(self):
        rng = self.rng
        texts = comment_texts(self.reports)
        weights = list(itertools.accumulate(rng.lognormvariate(0, 1) for _ in range(self.issue_count)))
        drawn = []
        for issue in rng.choices(range(self.issue_count), cum_weights=weights, k=self.comment_count):
            drawn.append((self.issue_times[issue] + datetime.timedelta(seconds=rng.expovariate(1 / 400_000)), issue))
        drawn.sort()
        for number, (created, issue) in enumerate(drawn, start=1):
            members = self.members[self.issue_projects[issue]]
            author = members[int(len(members) * rng.random() ** 2)]
            body = texts[rng.randrange(len(texts))]
            yield f"{number}\t{issue + 1}\t{author}\t{body}\t{created}\t{created}\n"

    def attachments(self):
        rng = self.rng
        for number in range(1, ATTACHMENTS + 1):
            issue = rng.randrange(self.issue_count)
            members = self.members[self.issue_projects[issue]]
            suffix, kind = rng.choice((("png", "image/png"), ("log", "text/plain"), ("zip", "application/zip")))
            yield (
                f"{number}\t{issue + 1}\t{rng.choice(members)}\tattachment-{number}.{suffix}\t{kind}\t"
                f"{rng.randrange(500, 3_000_000)}\t{self.issue_times[issue]}\n"
            )


class RowFile:
    """Rows as the file object that COPY … FROM STDIN reads."""

    def __init__(self, rows):
        self._rows = iter(rows)
        self._rest = ""

    def read(self, size=-1):
        parts = [self._rest]
        length = len(self._rest)
        while length < size:
            chunk = "".join(itertools.islice(self._rows, 512))
            if not chunk:
                break
            parts.append(chunk)
            length += len(chunk)
        text = "".join(parts)
        self._rest = text[size:]
        return text[:size]


TABLES = ("users", "projects", "project_members", "sprints", "issues", "comments", "attachments")


def load(dsn, csv_path, issues=ISSUES, comments=COMMENTS, say=print):
    """Creates the schema in an empty database and fills it. `dsn` logs in as a superuser."""
    reports = read_reports(csv_path) if csv_path else generate_reports(random.Random(SEED + 1))
    say(f"texts: {len(reports)} reports from {csv_path or 'the generator'}")
    dataset = Dataset(reports, issues, comments)
    connection = psycopg2.connect(dsn)
    cursor = connection.cursor()
    # Whatever the server's settings: TIMESTAMPs above are written in UTC.
    cursor.execute("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
    cursor.execute("GRANT CREATE ON SCHEMA public TO tracker_owner; SET ROLE tracker_owner")
    cursor.execute((HERE / "schema.sql").read_text())
    cursor.execute("RESET ROLE")
    for table in TABLES:
        cursor.copy_expert(f"COPY {table} FROM STDIN", RowFile(getattr(dataset, table)()), 1 << 16)
        say(f"loaded {cursor.rowcount:7} {table}")
        if table not in ("project_members",):
            cursor.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}")
    cursor.execute("SET ROLE tracker_owner")
    cursor.execute((HERE / "indexes.sql").read_text())
    cursor.execute("RESET ROLE")
    connection.commit()
    connection.autocommit = True
    say("indexes made")
    cursor.execute("VACUUM ANALYZE")
    connection.close()
    say("analyzed")
