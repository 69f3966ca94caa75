// Drizzle over node-pg: its builder, relational queries as one JSON-building statement, statements
// prepared under a name, transactions in transactions.

'use strict';

const { relations, eq, lt, sql, asc, count } = require('drizzle-orm');
const { drizzle } = require('drizzle-orm/node-postgres');
const { pgTable, integer, text, numeric, date, jsonb } = require('drizzle-orm/pg-core');
const { Pool } = require('pg');

const [host, port, database, user, password] = process.argv.slice(2);
const place = { host, port: Number(port), database, user, password };

const team = pgTable('team', { id: integer('id').primaryKey(), name: text('name') });
const person = pgTable('person', {
  id: integer('id').primaryKey(),
  name: text('name').notNull(),
  score: numeric('score'),
  born: date('born'),
  tags: text('tags').array(),
  data: jsonb('data'),
  teamId: integer('team_id').references(() => team.id),
});
const scratch = pgTable('scratch', { id: integer('id').primaryKey(), note: text('note') });
const schema = {
  team,
  person,
  scratch,
  teamRelations: relations(team, ({ many }) => ({ persons: many(person) })),
  personRelations: relations(person, ({ one }) => ({ team: one(team, { fields: [person.teamId], references: [team.id] }) })),
};

function show(what, value) {
  console.log(`${what}: ${JSON.stringify(value)}`);
}

async function failing(statement) {
  await statement.then((rows) => show('no error', rows), (error) => show('error', [error.cause?.code ?? error.code, error.cause?.message ?? error.message]));
}

async function reads(db) {
  const byId = db.select().from(person).where(eq(person.id, sql.placeholder('id'))).prepare('by_id');
  for (const id of [1, 2, 1]) show('prepared', await byId.execute({ id }));
  for (let turn = 0; turn < 3; turn += 1) {
    show('joined', await db.select({ team: team.name, count: count() }).from(person).leftJoin(team, eq(team.id, person.teamId)).groupBy(team.name).orderBy(asc(team.name)));
    show('related', (await db.query.team.findMany({ with: { persons: { columns: { id: true }, limit: 3, orderBy: asc(person.id) } }, orderBy: asc(team.id) })));
    show('one', await db.query.person.findFirst({ where: lt(person.id, 5), orderBy: asc(person.born), with: { team: true } }));
  }
  show('counted', await db.$count(person, lt(person.id, 11)));
  show('executed', (await db.execute(sql`SELECT ${3}::int + 1 AS four`)).rows);
}

async function writes(db, other) {
  show('inserted', await db.insert(scratch).values([{ id: 1, note: 'one' }, { id: 2 }]).returning());
  show('upserted', await db.insert(scratch).values({ id: 1, note: 'new' }).onConflictDoUpdate({ target: scratch.id, set: { note: sql`excluded.note || '!'` } }).returning());
  show('elsewhere', await other.select().from(scratch).orderBy(scratch.id));
  await db.transaction(async (outer) => {
    await outer.update(scratch).set({ note: 'kept' }).where(eq(scratch.id, 2));
    await outer.transaction(async (inner) => {
      await inner.insert(scratch).values({ id: 3 });
      inner.rollback();
    }).catch((error) => show('inner', error.constructor.name));
    show('inside', await outer.select().from(scratch).orderBy(scratch.id));
  }, { isolationLevel: 'repeatable read' });
  await db.transaction(async (outer) => {
    await outer.delete(scratch);
    throw new Error('changed my mind');
  }).catch((error) => show('rolled back', error.message));
  show('elsewhere', await other.select().from(scratch).orderBy(scratch.id));
  show('locked', await db.transaction((outer) => outer.select().from(scratch).where(eq(scratch.id, 1)).for('update', { skipLocked: true })));
  show('deleted', (await db.delete(scratch).where(eq(scratch.id, 2))).rowCount);
}

async function main() {
  const [pool, another] = [new Pool({ ...place, max: 2 }), new Pool({ ...place, max: 1 })];
  const [db, other] = [drizzle(pool, { schema }), drizzle(another, { schema })];
  await reads(db);
  await reads(other);
  await writes(db, other);
  await failing(db.insert(scratch).values({ id: 1 }));
  await failing(db.execute(sql`SELEC 1`));
  await failing(db.select().from(pgTable('nowhere', { id: integer('id') })));
  show('at once', (await Promise.all([1, 2, 3, 4].map((id) => db.select({ name: person.name }).from(person).where(eq(person.id, id))))).flat());
  await db.execute(sql`TRUNCATE ${scratch}`);
  show('emptied', await other.$count(scratch));
  await pool.end();
  await another.end();
}

main().catch((error) => {
  console.log(`died: ${error.stack}`);
  process.exit(1);
});
