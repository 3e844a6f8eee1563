import type { Kysely } from 'kysely'
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
  const migrator = new Migrator({
    db: kysely,
    provider: { getMigrations: async () => ({ ...migrations }) },
    migrationTableName: `${owner}_migrations`,
    migrationLockTableName: `${owner}_migrations_lock`,
  })
  const { error } = await migrator.migrateToLatest()
  if (error !== undefined) throw error
}
