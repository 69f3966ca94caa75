// postgres.js: pipelines everything, prepares every statement under a name, streams, COPY, LISTEN.

'use strict';

const { text: everything } = require('stream/consumers');
const { pipeline } = require('stream/promises');
const { Readable } = require('stream');
const postgres = require('postgres');

const [host, port, database, user, password] = process.argv.slice(2);
const options = { host, port: Number(port), database, user, password, max: 1, onnotice: () => {} };

function show(what, value) {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function failing(statement) {
  await statement.then((rows) => show('no error', rows), (error) => show('error', [error.code, error.message]));
}

async function reads(sql) {
  for (const id of [1, 2, 1]) {
    show('row', await sql`SELECT id, name, score, born::text, tags, data FROM person WHERE id = ${id}`);
  }
  const asked = [...Array(12).keys()].map((id) => sql`SELECT name FROM person WHERE id = ${id + 1}`);
  show('pipelined', (await Promise.all(asked)).map(([row]) => row.name));
  const result = await sql`SELECT id, name FROM person WHERE id = ANY(${[3, 5]}::int[]) ORDER BY ${sql('id')}`;
  show('result', [result, result.count, result.command, result.columns.map((column) => [column.name, column.type])]);
  show('described', await sql`SELECT id, born FROM person WHERE id = ${1}`.describe().then((one) => [one.types, one.columns.map((column) => column.name)]));
  show('values', await sql`SELECT 1, 'two'`.values());
  show('simple', await sql`SELECT 1 AS one; SELECT 2 AS two`.simple());
  show('unprepared', await sql.unsafe('SELECT $1::int + 1 AS next', [41]));
  show('raw', (await sql`SELECT 'raw' AS text`.raw()).map((row) => row.map(String)));
}

async function pieces(sql) {
  const ids = [];
  await sql`SELECT id FROM person ORDER BY id`.cursor(7, (rows) => { ids.push(rows.length); });
  show('cursor', ids);
  const first = [];
  for await (const rows of sql`SELECT id FROM person WHERE id < ${30} ORDER BY id`.cursor(4)) {
    first.push(rows[0].id);
    if (first.length === 3) break;
  }
  show('broken off', first);
  let sum = 0;
  await sql`SELECT id FROM person`.forEach((row) => { sum += row.id; });
  show('each', sum);
  const lines = Readable.from(['1\tone\n', '2\t\\N\n', '3\tthree\n']);
  await pipeline(lines, await sql`COPY scratch FROM STDIN`.writable());
  show('copied out', await everything(await sql`COPY (SELECT * FROM scratch ORDER BY id) TO STDOUT CSV`.readable()));
}

async function transactions(sql, other) {
  const [one] = await sql.begin(async (inner) => {
    await inner`INSERT INTO scratch ${inner([{ id: 10, note: 'ten' }, { id: 11, note: null }])}`;
    await inner.savepoint((deeper) => deeper`INSERT INTO scratch VALUES (10, 'twice')`).catch((error) => show('inner', error.code));
    return inner`SELECT count(*)::int FROM scratch`;
  });
  show('inside', one);
  show('elsewhere', await other`SELECT * FROM scratch ORDER BY id`);
  await sql.begin(async (inner) => {
    await inner`DELETE FROM scratch`;
    throw new Error('changed my mind');
  }).catch((error) => show('rolled back', error.message));
  show('still there', await other`SELECT count(*)::int FROM scratch`);
  show('piped', await sql.begin((inner) => [
    inner`UPDATE scratch SET note = ${'piped'} WHERE id = ${10} RETURNING *`,
    inner`SELECT note FROM scratch WHERE id = ${10}`,
  ]));
  show('read only', await sql.begin('ISOLATION LEVEL SERIALIZABLE READ ONLY', (inner) => inner`SHOW transaction_isolation`));
  show('updated', await sql`UPDATE scratch SET ${sql({ note: 'new' })} WHERE id IN ${sql([1, 2])} RETURNING id`);
}

async function failures(sql) {
  await failing(sql`SELECT 1 / ${0}::int`);
  await failing(sql`SELEC 1`);
  await failing(sql`SELECT * FROM nowhere WHERE id = ${1}`);
  await failing(sql`INSERT INTO scratch VALUES (${1}, 'duplicate')`);
  show('between errors', (await Promise.allSettled([
    sql`SELECT ${1}::int AS a`, sql`SELECT 1 / ${0}::int AS a`, sql`SELECT ${3}::int AS a`,
  ])).map((one) => one.value ?? one.reason.code));
}

async function cancel(sql) {
  const query = sql`SELECT pg_sleep(30)`;
  setTimeout(() => query.cancel(), 300);
  await failing(query);
}

async function listening() {
  const sql = postgres(options);
  const heard = new Promise((resolve) => {
    sql.listen('words', resolve).then(() => sql.notify('words', 'a word'));
  });
  show('notified', await heard);
  await sql.end();
}

async function main() {
  const sql = postgres(options);
  const other = postgres(options);
  await reads(sql);
  await reads(other);
  await pieces(sql);
  await transactions(sql, other);
  await failures(sql);
  await sql`TRUNCATE scratch`;
  show('emptied', await other`SELECT count(*)::int FROM scratch`);
  await sql.end();
  await other.end();

  // What follows a cancel may be hit by it, with PostgreSQL too: then nothing follows.
  const last = postgres(options);
  await cancel(last);
  await last.end();

  const pool = postgres({ ...options, max: 3, prepare: false });
  const ids = [...Array(12).keys()];
  show('pooled', (await Promise.all(ids.map((id) => pool`SELECT name FROM person WHERE id = ${id + 1}`))).map(([row]) => row.name));
  await pool.end();
}

main().catch((error) => {
  console.log(`died: ${error.stack}`);
  process.exit(1);
});
