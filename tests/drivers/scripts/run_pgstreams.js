// pg-cursor and pg-query-stream: portals read in pieces with Flush between them, several at a time.

'use strict';

const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');

const [host, port, database, user, password] = process.argv.slice(2);
const place = { host, port: Number(port), database, user, password };

function show(what, value) {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function cursors(client) {
  const cursor = client.query(new Cursor('SELECT id, name FROM person WHERE id > $1 ORDER BY id', [30]));
  show('first', await cursor.read(3));
  show('second', await cursor.read(4));
  show('rest', (await cursor.read(100)).map((row) => row.id));
  show('nothing left', await cursor.read(1));
  await cursor.close();

  const left = client.query(new Cursor('SELECT id FROM person ORDER BY id', [], { rowMode: 'array' }));
  show('arrays', await left.read(2));
  await left.close();
  show('closed', await left.read(1));
  show('then', (await client.query('SELECT name FROM person WHERE id = $1', [1])).rows);

  const writing = client.query(new Cursor('INSERT INTO scratch SELECT g, $1 FROM generate_series(1, 5) g RETURNING id', ['c']));
  show('written', await writing.read(2));
  show('written', await writing.read(10));
  await writing.close();
  show('all of it', (await client.query('SELECT count(*) FROM scratch')).rows);
}

async function failures(client) {
  const late = client.query(new Cursor('SELECT 10 / (3 - id) AS n FROM generate_series(1, $1::int) id', [5]));
  show('before the error', await late.read(2));
  await late.read(2).catch((error) => show('error', [error.code, error.message]));
  await late.close().catch((error) => show('closing', error.code));
  const wrong = client.query(new Cursor('SELECT * FROM nowhere'));
  await wrong.read(1).catch((error) => show('error', [error.code, error.message]));
  show('then', (await client.query("SELECT 'alive' AS state")).rows);
}

async function transactions(client, other) {
  await client.query('BEGIN');
  await client.query("UPDATE scratch SET note = 'new' WHERE id < 3");
  const cursor = client.query(new Cursor('SELECT * FROM scratch ORDER BY id'));
  show('inside', await cursor.read(2));
  await cursor.close();
  await client.query('COMMIT');
  show('elsewhere', (await other.query('SELECT * FROM scratch ORDER BY id LIMIT 3')).rows);
}

async function streams(client) {
  for (const [batchSize, highWaterMark] of [[1, 1], [7, 3], [100, 16]]) {
    let sum = 0;
    let count = 0;
    const stream = client.query(new QueryStream(
      'SELECT id, name FROM person WHERE id <= $1 ORDER BY id', [33], { batchSize, highWaterMark }));
    for await (const row of stream) {
      sum += row.id;
      count += 1;
    }
    show('streamed', [batchSize, count, sum]);
  }
  const broken = client.query(new QueryStream('SELECT id FROM person ORDER BY id', [], { batchSize: 2 }));
  const seen = [];
  for await (const row of broken) {
    seen.push(row.id);
    if (seen.length === 5) break;
  }
  show('broken off', seen);
  const large = client.query(new QueryStream("SELECT g, repeat('x', 5000) AS text FROM generate_series(1, 400) g"));
  let bytes = 0;
  for await (const row of large) bytes += row.text.length;
  show('large', bytes);
  show('then', (await client.query('SELECT count(*) FROM person')).rows);
}

async function main() {
  const client = new Client(place);
  const other = new Client(place);
  await client.connect();
  await other.connect();
  await cursors(client);
  await failures(client);
  await transactions(client, other);
  await streams(client);
  await streams(other);
  await client.query('TRUNCATE scratch');
  show('emptied', (await other.query('SELECT count(*) FROM scratch')).rows);
  await client.end();
  await other.end();

  const pool = new Pool({ ...place, max: 3 });
  const totals = await Promise.all([10, 20, 30, 40].map(async (end) => {
    const one = await pool.connect();
    let count = 0;
    for await (const row of one.query(new QueryStream('SELECT id FROM person WHERE id <= $1', [end], { batchSize: 4 }))) count += row.id > 0;
    one.release();
    return count;
  }));
  show('at once', totals);
  await pool.end();
}

main().catch((error) => {
  console.log(`died: ${error.stack}`);
  process.exit(1);
});
