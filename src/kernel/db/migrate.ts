import { type Kysely, PostgresAdapter, sql } from 'kysely'
import type { Migration } from 'kysely/migration'
import { Misconfigured } from '../errors.ts'

/** Numbered, forward only: `{ '0001-volumes': { up } }`. Written once, run on SQLite and on PostgreSQL. */
export type Migrations = Readonly<Record<string, Migration>>

/** What has run; its name depends on the owner. */
interface RecordTables {
  [table: string]: { name: string; timestamp: string }
}

/**
 * Brings one service's tables up to date. Each service keeps its own record of what ran (`<owner>_migrations`),
 * so that services can share a database or have one each. All that is missing runs in one transaction; of several
 * processes one runs it and the others wait.
 *
 * Kysely's own migrator is not used because it reads the definition of every table in the database first: slow,
 * and on PostgreSQL a failure whenever somebody else drops a table meanwhile.
 * @throws the first failing migration's error, and then nothing has changed; Misconfigured when a newer version
 *   of the program has migrated the database
 */
export async function migrate<Tables>(
  kysely: Kysely<Tables>,
  owner: string,
  migrations: Migrations,
): Promise<void> {
  const table = `${owner}_migrations`
  const isPostgres = kysely.getExecutor().adapter instanceof PostgresAdapter
  await kysely.transaction().execute(async (transaction) => {
    const db = transaction as unknown as Kysely<RecordTables> // the record, beside the service's own tables
    if (isPostgres) await sql`select pg_advisory_xact_lock(hashtextextended(${table}, 0))`.execute(db)
    await db.schema
      .createTable(table)
      .ifNotExists()
      .addColumn('name', 'varchar(255)', (column) => column.primaryKey().notNull())
      .addColumn('timestamp', 'varchar(255)', (column) => column.notNull())
      .execute()
    const done = new Set((await db.selectFrom(table).select('name').execute()).map((row) => row.name))
    for (const name of done) {
      if (name in migrations) continue
      throw new Misconfigured(`The database has been migrated by a newer version (${owner} ${name}).`, {
        details: { owner, migration: name },
      })
    }
    for (const [name, migration] of Object.entries(migrations).sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (done.has(name)) continue
      await migration.up(db)
      await db.insertInto(table).values({ name, timestamp: new Date().toISOString() }).execute()
    }
  })
}
