"""Redis as the second store: it may stop, restart, freeze or lie, and no client notices."""

import pytest
from harness.reads import mark_of, marked
from harness.waiting import eventually
from harness.world import World

pytestmark = pytest.mark.needs_postern

SCHEMA = """
CREATE TABLE t(id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 500) g;
"""


@pytest.fixture
def world():
    """A near store so small that most entries live in Redis only."""
    with World(SCHEMA, redis=True, settings={"cache": {"memory": "1MiB"}}) as one:
        yield one


def reads(count=120):
    """Statements whose answers are 40 KiB each: together more than the near store holds."""
    mark = mark_of(marked(""))
    return mark, [f"select v, repeat(md5(v), 1250) from t where id = {n} -- {mark}"
                  for n in range(1, count + 1)]


def ask_all(client, statements):
    return [client.query(sql).messages for sql in statements]


def until_stored(world, count):
    eventually(lambda: len(world.redis.keys()) >= count, f"{count} keys in Redis")


def test_what_memory_has_no_room_for_is_served_from_redis(world):
    mark, statements = reads()
    with world.client() as client:
        wanted = ask_all(client, statements)
        until_stored(world, 100)
        with world.relay.counting(mark) as passed:
            assert ask_all(client, statements) == wanted
            assert passed() <= len(statements) // 10
        assert any("redis" in name and value > 0 for name, value in world.postern.metrics().items())


def test_a_write_is_seen_whatever_redis_holds(world):
    _, statements = reads(40)
    with world.client() as client, world.client() as other:
        ask_all(client, statements)
        until_stored(world, 30)
        client.run("update t set v = 'changed' where id = 7")
        assert other.rows(statements[6])[0][0] == "changed"
        assert client.rows(statements[6])[0][0] == "changed"


@pytest.mark.parametrize("trouble", ["stopped", "restarted", "frozen", "flushed", "garbage", "wrong type"])
def test_trouble_with_redis_reaches_no_client(world, trouble):
    _, statements = reads()
    with world.client() as client:
        wanted = ask_all(client, statements)
        until_stored(world, 100)
        make_trouble(world.redis, trouble)
        assert ask_all(client, statements) == wanted
        client.run("update t set v = 'after' where id = 3")
        assert client.rows(statements[2])[0][0] == "after"
        with world.client() as other:
            assert other.rows(statements[2])[0][0] == "after"
        if trouble == "frozen":
            world.redis.thaw()
        if trouble == "stopped":
            world.redis.start()
        for _ in range(2):
            assert client.rows(statements[2])[0][0] == "after"


def make_trouble(redis, trouble):
    if trouble == "stopped":
        redis.stop()
    elif trouble == "restarted":
        redis.stop()
        redis.start()
    elif trouble == "frozen":
        redis.freeze()
    elif trouble == "flushed":
        assert redis.command("FLUSHALL") == b"+OK\r\n"
    else:
        for number, key in enumerate(redis.keys()):
            if trouble == "garbage":
                value = redis.command("GET", key) or b""
                bad = [b"", b"\0" * 64, value[:-7], value[len(value) // 2 :]][number % 4]
                redis.command("SET", key, bad)
            else:
                redis.command("DEL", key)
                redis.command("LPUSH", key, "not a string")


def test_entries_of_an_earlier_process_are_not_believed(world):
    _, statements = reads(40)
    with world.client() as client:
        ask_all(client, statements)
        until_stored(world, 30)
    world.postern.stop()
    world.pg.run("update t set v = 'meanwhile' where id = 5")
    world.postern.start()
    with world.client() as client:
        assert client.rows(statements[4])[0][0] == "meanwhile"


def test_postern_starts_and_serves_without_redis():
    with World(SCHEMA, redis=True) as world:
        world.postern.stop()
        world.redis.stop()
        world.postern.start()
        with world.client() as client:
            assert client.value("select v from t where id = 1") == "v1"
            client.run("update t set v = 'x' where id = 1")
            assert client.value("select v from t where id = 1") == "x"
