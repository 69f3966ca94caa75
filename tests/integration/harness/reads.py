"""Reads that can be told apart at the relay, and whether they were served from the cache."""

import itertools

from .waiting import eventually

_serial = itertools.count()


def marked(sql):
    """The statement with a word at its end that no other statement has."""
    return f"{sql} -- m{next(_serial)}."


def mark_of(sql):
    return sql.rpartition("-- ")[2]


def warm(world, client, sql, seconds=10):
    """Reads until an answer comes without PostgreSQL: after DDL the catalog is read anew first."""
    def served():
        with world.relay.counting(mark_of(sql)) as passed:
            answer = client.query(sql)
            assert not answer.error, answer.error
            return answer if passed() == 0 else None

    return eventually(served, f"serving from the cache of {sql}", seconds)


def assert_hits(world, client, sql, times=3):
    """Once in the cache, it stays there, and its answers are equal."""
    first = warm(world, client, sql)
    with world.relay.counting(mark_of(sql)) as passed:
        for _ in range(times):
            again = client.query(sql)
            assert again.messages == first.messages
        assert passed() == 0, f"PostgreSQL saw {passed()} of {times}: {sql}"
    return first


def assert_never_hits(world, client, sql, times=3):
    with world.relay.counting(mark_of(sql)) as passed:
        for _ in range(times):
            answer = client.query(sql)
            assert not answer.error, answer.error
        assert passed() == times, f"PostgreSQL saw {passed()} of {times}: {sql}"
