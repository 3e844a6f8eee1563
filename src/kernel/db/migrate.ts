import { type Kysely, PostgresAdapter, sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'

/** Numbered, forward only: `{ '0001-volumes': { up } }`. Written once, run on SQLite and on PostgreSQL. */
export type Migrations = Readonly<Record<string, Migration>>

/**
 * Brings one service's tables up to date. Each service keeps its own record of what ran (`<owner>_migrations`),
 * so that services can share a database or have one each.
 * @throws the first failing migration's error; nothing after it runs
 */
export async function migrate<Tables>(
  kysely: Kysely<Tables>,
  owner: string,
  migrations: Migrations,
): Promise<void> {
  const schema = await currentSchema(kysely)
  const migrator = new Migrator({
    db: kysely,
    provider: { getMigrations: async () => ({ ...migrations }) },
    migrationTableName: `${owner}_migrations`,
    migrationLockTableName: `${owner}_migrations_lock`,
    ...(schema === undefined ? {} : { migrationTableSchema: schema }),
  })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw error
}

/** PostgreSQL's schema; without it the migrator takes another schema's record of migrations for this one's. */
async function currentSchema<Tables>(kysely: Kysely<Tables>): Promise<string | undefined> {
  if (!(kysely.getExecutor().adapter instanceof PostgresAdapter)) return undefined
  const { rows } = await sql<{ name: string | null }>`select current_schema() as name`.execute(kysely)
  return rows[0]?.name ?? undefined
}
