"""Values of every type, as text and in binary, from and to the client."""

import pytest
from harness.scripts import unnamed
from harness.wire import bind, describe, execute, parse, row_of, sync
from harness.world import World, both_ways

SCHEMA = """
CREATE TABLE item(id int);
CREATE TYPE mood AS ENUM ('sad', 'happy');
"""


@pytest.fixture(scope="module", params=[1, 2], ids=["pool-1", "pool-2"])
def world(request):
    with World(SCHEMA, pool_size=request.param) as one:
        yield one


TYPES = """
true; 1::int2; 2::int4; 3::int8; 1.5::float4; 0.1::float8; 12.340::numeric; 'NaN'::numeric; 'x'::text;
'y'::varchar; 'z'::char(4); 'n'::name; '\\x00ff'::bytea; '2024-02-29'::date; '12:34:56.789'::time;
'12:34:56+02'::timetz; '2024-02-29 12:00'::timestamp; '2024-02-29 12:00+00'::timestamptz; 'infinity'::timestamptz;
'1 year 2 mons 3 days 04:05:06'::interval; '{"a": [1, null]}'::json; '{"a": [1, null]}'::jsonb; '$.a'::jsonpath;
'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid; '10.0.0.1/8'::inet; '10.0.0.0/8'::cidr; '08:00:2b:01:02:03'::macaddr;
'(1,2)'::point; '((1,2),(3,4))'::box; '<(1,2),3>'::circle; b'101'::bit(3); b'101'::varbit; 'a & b'::tsquery;
'a:1 b:2'::tsvector; '<a>1</a>'::xml; 'happy'::mood; '{1,null,3}'::int[]; '{{a,b},{c,d}}'::text[];
'[1,5)'::int4range; '{[1,3),[5,7)}'::int4multirange; 'item'::regclass; '16/B374D848'::pg_lsn; '12.34'::money
"""


def round_trip(sql):
    """A value as text and in binary, sent back in both forms and asked for in both."""
    def script(client):
        value, oid = client.prepared(f"select {sql}, pg_typeof({sql})::oid::int").rows[0]
        client.send(*unnamed(f"select {sql}", results=[1]), sync())
        (raw,) = [row_of(one)[0] for one in client.until("Z") if one.tag == "D"]
        for given, form in ((value, 0), (raw, 1)):
            for wanted in ([], [0], [1], [1, 0]):
                client.send(parse("", "select $1, 1", [int(oid)]),
                            bind("", "", [given], [form], wanted), describe("P"), execute(), sync())
                client.until("Z")

    return script


TYPES_BOTH_WAYS = {sql.strip(): round_trip(sql.strip()) for sql in TYPES.split(";") if sql.strip()}


@pytest.mark.parametrize("sql", TYPES_BOTH_WAYS)
def test_a_type_in_text_and_binary(world, sql):
    both_ways(world, TYPES_BOTH_WAYS[sql], times=2)
