// knex: its pool and its query builder over node-pg, migrations with their lock, transactions in
// transactions, streams.

'use strict';

const knex = require('knex');

const [host, port, database, user, password] = process.argv.slice(2);
const connection = { host, port: Number(port), database, user, password };

function show(what, value) {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function failing(statement) {
  await statement.then((rows) => show('no error', rows), (error) => show('error', [error.code, error.message]));
}

// Migrations from memory instead of from files.
const steps = {
  '1_make': {
    up: (db) => db.schema.createTable('knex_item', (table) => {
      table.increments('id');
      table.string('label', 40).notNullable().unique();
      table.jsonb('data').defaultTo('{}');
      table.integer('team_id').references('team.id').onDelete('CASCADE');
      table.timestamps(true, true);
    }),
    down: (db) => db.schema.dropTable('knex_item'),
  },
  '2_widen': {
    up: (db) => db.schema.alterTable('knex_item', (table) => { table.integer('weight').index(); }),
    down: (db) => db.schema.alterTable('knex_item', (table) => { table.dropColumn('weight'); }),
  },
};
const source = {
  getMigrations: async () => Object.keys(steps),
  getMigrationName: (name) => name,
  getMigration: async (name) => steps[name],
};

async function migrate(db) {
  show('migrated', await db.migrate.latest({ migrationSource: source }));
  show('again', await db.migrate.latest({ migrationSource: source }));
  show('columns', Object.keys(await db('knex_item').columnInfo()));
  show('has', [await db.schema.hasTable('knex_item'), await db.schema.hasColumn('knex_item', 'nothing')]);
}

async function reads(db) {
  for (let turn = 0; turn < 3; turn += 1) {
    show('first', await db('person').where({ id: 3 }).first('id', 'name', 'score', 'tags', 'data'));
    show('joined', await db('person as p').join('team as t', 't.id', 'p.team_id').select('t.name').count('* as count').avg('p.score as average').groupBy('t.name').orderBy('t.name'));
    show('page', await db('person').whereIn('team_id', [1, 2]).orderBy('id').limit(3).offset(4).pluck('id'));
    show('with', await db.with('few', db('person').where('id', '<', 4)).select('id').from('few').union(db.select(db.raw('?::int', [77]))).orderBy('id'));
  }
  show('raw', (await db.raw('SELECT ?::text AS a, ??  FROM person WHERE id = ?', ['x', 'name', 2])).rows);
  let sum = 0;
  for await (const row of db('person').select('id').stream({ batchSize: 6 })) sum += row.id;
  show('streamed', sum);
}

async function writes(db, other) {
  show('inserted', await db('knex_item').insert([{ label: 'a', team_id: 1 }, { label: 'b', data: { k: [1] } }]).returning(['id', 'label', 'data']));
  show('merged', await db('knex_item').insert({ label: 'a', weight: 7 }).onConflict('label').merge(['weight']).returning('weight'));
  show('ignored', (await db('knex_item').insert({ label: 'b' }).onConflict('label').ignore()).rowCount);
  show('changed', await db('knex_item').where('label', 'a').increment('weight', 2));
  show('elsewhere', await other('knex_item').select('label', 'weight', 'data').orderBy('label'));
  await db.transaction(async (outer) => {
    await outer('knex_item').insert({ label: 'c' });
    await outer.transaction(async (inner) => {
      await inner('knex_item').insert({ label: 'c' });
    }).catch((error) => show('inner', error.code));
    show('locked', await outer('knex_item').where('label', 'a').forUpdate().pluck('weight'));
  });
  await db.transaction(async (outer) => {
    await outer('knex_item').del();
    throw new Error('changed my mind');
  }, { isolationLevel: 'repeatable read' }).catch((error) => show('rolled back', error.message));
  show('left', await other('knex_item').orderBy('label').pluck('label'));
  await db.batchInsert('scratch', [...Array(25).keys()].map((id) => ({ id, note: `n${id}` })), 10);
  show('batched', await other('scratch').count());
  show('deleted', await db('scratch').where('id', '>', 4).del());
}

async function failures(db) {
  await failing(db('nowhere').select());
  await failing(db('knex_item').insert({ label: 'a' }));
  await failing(db('person').where('id', 'x'));
  await failing(db.raw('SELEC 1'));
  // With `cancel` knex gives the process id of its connection to pg_cancel_backend(): behind a pool
  // that is not the id of any server.
  await db.raw('SELECT pg_sleep(1)').timeout(200).catch((error) => show('timed out', error.name));
}

async function main() {
  const db = knex({ client: 'pg', connection, pool: { min: 0, max: 2 } });
  const other = knex({ client: 'pg', connection, pool: { min: 0, max: 1 }, searchPath: ['public'] });
  await migrate(db);
  await reads(db);
  await reads(other);
  await writes(db, other);
  show('at once', (await Promise.all([1, 2, 3, 4, 5].map((id) => db('person').where({ id }).first('name')))).map((row) => row.name));
  await failures(db);
  show('back', (await db.migrate.rollback({ migrationSource: source }, true))[1]);
  await db.schema.dropTable('knex_migrations').dropTable('knex_migrations_lock');
  await db('scratch').truncate();
  show('emptied', await other('scratch').count());
  await db.destroy();
  await other.destroy();
}

main().catch((error) => {
  console.log(`died: ${error.stack}`);
  process.exit(1);
});
