"""Parts of conversations, to be put together and held with both_ways()."""

from .wire import bind, describe, execute, parse
from .world import both_ways


def simple(*statements):
    """Each statement as a Query of its own."""
    def script(client):
        for sql in statements:
            client.query(sql)

    return script


def batch(*messages, ends="Z", count=1):
    """One write, then everything up to the count-th message with the tag `ends`."""
    def script(client):
        client.send(*messages)
        for _ in range(count):
            client.until(ends)

    return script


def said(pattern, *messages):
    """One write, then exactly the messages that `pattern` names."""
    def script(client):
        client.send(*messages)
        client.expect(pattern)

    return script


def steps(*parts):
    def script(client):
        for part in parts:
            part(client)

    return script


def unnamed(sql, values=(), types=(), formats=(), results=(), rows=0):
    """A statement's way through the extended protocol, up to Sync."""
    return (parse("", sql, types), bind("", "", values, formats, results), describe("P"),
            execute("", rows))


def beside_another(world, script):
    """Behind each answer, unless it leaves a transaction open, another client uses the same servers."""
    with world.client() as other:
        def interleaved(client):
            until = client.until

            def and_the_other(tag="Z"):
                messages = until(tag)
                if tag == "Z" and client.status == "I":
                    assert other.value("select 'other'") == "other"
                    other.run("set work_mem = '13MB'", "reset work_mem")
                return messages

            client.until = and_the_other
            script(client)

        both_ways(world, interleaved)
