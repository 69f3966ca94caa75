// node-pg: parameters, named statements, transactions, COPY without a stream, cancel.

'use strict';

const { Client, Pool } = require('pg');

const [host, port, database, user, password] = process.argv.slice(2);
const place = { host, port: Number(port), database, user, password };

function show(what, value) {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function failing(client, ...query) {
  try {
    await client.query(...query);
  } catch (error) {
    show('error', [error.code, error.message]);
  }
}

async function reads(client) {
  for (const id of [1, 2, 1]) {
    const result = await client.query('SELECT id, name, score, tags, data FROM person WHERE id = $1', [id]);
    show('row', [result.rows, result.command, result.rowCount]);
    const named = await client.query({ name: 'by-id', text: 'SELECT name FROM person WHERE id = $1', values: [id] });
    show('named', named.rows);
    const array = await client.query({ text: 'SELECT id, name FROM person ORDER BY id LIMIT 3', rowMode: 'array' });
    show('array', [array.rows, array.fields.map((field) => [field.name, field.dataTypeID])]);
  }
  const several = await client.query('SELECT 1 AS one; SELECT 2 AS two');
  show('several', several.map((result) => result.rows));
  const queued = await Promise.all([4, 5, 6].map((id) => client.query('SELECT name FROM person WHERE id = $1', [id])));
  show('queued', queued.map((result) => result.rows[0].name));
  const limited = await client.query({ text: 'SELECT id FROM person ORDER BY id', rows: 4 });
  show('limited', limited.rows.length);
}

async function transactions(client, other) {
  await client.query('BEGIN');
  await client.query('INSERT INTO scratch VALUES ($1, $2)', [1, 'one']);
  await client.query('SAVEPOINT a');
  await failing(client, 'INSERT INTO scratch VALUES (1, $1)', ['twice']);
  await failing(client, 'SELECT 1');
  await client.query('ROLLBACK TO a');
  show('inside', (await client.query('SELECT * FROM scratch')).rows);
  await client.query('COMMIT');
  show('elsewhere', (await other.query('SELECT * FROM scratch')).rows);
  await client.query('BEGIN');
  await client.query('DELETE FROM scratch');
  await client.query('ROLLBACK');
  show('rolled back', (await other.query('SELECT count(*) FROM scratch')).rows);
  const updated = await client.query("UPDATE scratch SET note = 'new' RETURNING *");
  show('updated', [updated.rows, updated.rowCount]);
  show('elsewhere', (await other.query('SELECT * FROM scratch')).rows);
}

async function errors(client) {
  const notices = [];
  client.on('notice', (notice) => notices.push(notice.message));
  await failing(client, 'SELECT 1/0');
  await failing(client, 'SELEC 1');
  await failing(client, 'SELECT * FROM nowhere');
  await failing(client, 'SELECT $1::int', ['x']);
  await failing(client, 'INSERT INTO scratch VALUES (1, $1)', ['duplicate']);
  await failing(client, 'COPY scratch FROM STDIN');
  show('copy out', (await client.query('COPY person TO STDOUT')).command);
  await client.query("DROP TABLE IF EXISTS no_such_table");
  show('notices', notices);
}

async function cancel(client) {
  const { Query } = require('pg');
  const query = new Query('SELECT pg_sleep(30)');
  const ended = new Promise((resolve) => {
    query.on('error', (error) => resolve(error.code));
    query.on('end', () => resolve('ran to its end'));
  });
  client.query(query);
  const canceller = new Client(place);
  // The server closes it once the signal has been sent; until then a later statement could be hit.
  const delivered = new Promise((resolve) => canceller.connection.once('end', resolve));
  setTimeout(() => canceller.cancel(client, query), 300);
  show('cancelled', await ended);
  await delivered;
  show('then', (await client.query("SELECT 'alive' AS state")).rows);
}

async function main() {
  const client = new Client(place);
  const other = new Client(place);
  await client.connect();
  await other.connect();
  await reads(client);
  await reads(other);
  await transactions(client, other);
  await errors(client);
  await cancel(client);
  await client.query('TRUNCATE scratch');
  show('emptied', (await other.query('SELECT count(*) FROM scratch')).rows);
  await client.end();
  await other.end();

  const pool = new Pool({ ...place, max: 3 });
  const ids = [...Array(12).keys()];
  const names = await Promise.all(ids.map((id) => pool.query('SELECT name FROM person WHERE id = $1', [id + 1])));
  show('pooled', names.map((result) => result.rows[0].name));
  await pool.end();
}

main().catch((error) => {
  console.log(`died: ${error.stack}`);
  process.exit(1);
});
