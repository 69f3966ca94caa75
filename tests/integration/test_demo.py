"""The demo's load: what it sends, and what it takes for right. That the whole of it runs, deploy/demo says."""

import sys

import pytest
from harness import tracker


@pytest.fixture(scope="module", autouse=True)
def demo():
    pytest.importorskip("asyncpg")
    sys.path.insert(0, str(tracker.SCHEMA))
    yield
    sys.path.remove(str(tracker.SCHEMA))


class Cursor:
    """Answers plan.World's questions: two people a project, of whom the first manages it; the third manager is an administrator."""

    def execute(self, sql, values=None):
        import plan

        projects = range(1, plan.ACTIVE_PROJECTS + 1)
        if "ORDER BY created_at" in sql:
            self.rows = [(1000 * values[0] + number,) for number in range(plan.POPULAR_ISSUES)]
        elif "role = 'admin'" in sql:
            self.rows = [(3,)]
        elif "role = 'manager'" in sql:
            self.rows = [(project, project) for project in projects]
        elif "reporter_id" in sql:  # every third issue is the developer's
            self.rows = [(issue, *((issue // 1000 + 60, None) if issue % 3 == 0 else (2000, 2001))) for issue in values[0]]
        else:
            self.rows = [(project + more, project) for project in projects for more in (0, 60)]

    def fetchall(self):
        return self.rows


@pytest.fixture
def world():
    import plan

    return plan.World(Cursor())


def test_edits_by_who_may_not_are_tried_on_top_of_the_writes_that_are_done(world):
    import plan

    operations = plan.draw(world, 102, 40_000, 20)
    writes = [operation for operation in operations if operation.is_write]
    done = [operation for operation in writes if operation.allowed]
    denied = [operation for operation in writes if not operation.allowed]
    assert {operation.kind for operation in denied} == {"edit", "move"}
    assert all(operation.user > 60 and operation.issue % 3 for operation in denied)
    shares = {kind: sum(operation.kind == kind for operation in done) / len(done) for kind in plan.WRITES}
    for kind, (share, _) in plan.WRITES.items():
        assert abs(shares[kind] - share / 100) < 0.05, shares
    assert 1900 <= len(done) <= 2000


def test_two_plans_of_one_seed_are_equal(world):
    import plan

    def told(operations):
        return [(operation.kind, operation.user, operation.project, operation.issue, operation.arguments, operation.allowed)
                for operation in operations]

    assert told(plan.draw(world, 7, 3000, 20)) == told(plan.draw(world, 7, 3000, 20))
    assert told(plan.draw(world, 7, 3000, 20)) != told(plan.draw(world, 8, 3000, 20))


def test_a_load_without_administrator_is_refused():
    import plan

    class Without(Cursor):
        def execute(self, sql, values=None):
            super().execute(sql, values)
            if "role = 'admin'" in sql:
                self.rows = []

    with pytest.raises(ValueError):
        plan.World(Without())


class Answering:
    """A backend of one answer, which may come while somebody else writes."""

    def __init__(self, status, checks=None, rival=None):
        self.answer = (status, b'{"version": 2, "title": "t", "status": "open", "priority": "low"}', 3, 1)
        self.checks = checks
        self.rival = rival

    async def request(self, *_):
        if self.rival:
            with self.checks.writing(self.rival):
                pass
        return self.answer


@pytest.mark.parametrize("allowed,status,rival,unexpected", [
    (True, 200, None, 0),
    (True, 409, None, 1),                    # nobody else was there to be faster
    (True, 409, ("contents", 5), 0),
    (True, 409, ("contents", 6), 1),
    (False, 409, None, 0),
    (False, 200, None, 1),
])
def test_an_edit_is_answered_as_the_matrix_says(allowed, status, rival, unexpected):
    import asyncio

    import load
    import plan

    checks, totals = load.Checks(), load.Totals()
    client = load.Client(0, None, checks, totals)
    client.http = Answering(status, checks, rival)
    operation = plan.Operation("edit", 1, 1, 5, None, allowed)
    asyncio.run(client.send_write(operation, "PATCH", "/issues/5", {}, 5))
    assert checks.unexpected == unexpected, checks.examples
    assert totals.denied == (status == 409 and not allowed)
    assert totals.conflicts == (status == 409 and allowed)
