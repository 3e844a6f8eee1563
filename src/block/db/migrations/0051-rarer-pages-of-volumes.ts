import { type Kysely, sql } from 'kysely'

/**
 * What the rarer orders and filters of lists are read by: volumes by user and by migration, those made of one snapshot or
 * volume, and snapshots in the orders that clients ask for. As 0011.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const orders = {
    volumes: { user: 'user_id', migration: "coalesce(migration_status, '')" },
    snapshots: { name: "coalesce(name, '')", status: 'status', size: 'size_gib' },
  }
  for (const [table, columns] of Object.entries(orders)) {
    for (const [name, column] of Object.entries(columns)) {
      const rest = sql.raw(`${column}, created_at, id`)
      const on = sql.ref(table)
      await sql`create index ${sql.ref(`${table}_project_${name}`)} on ${on} (project_id, ${rest})`.execute(
        db,
      )
      await sql`create index ${sql.ref(`${table}_by_${name}`)} on ${on} (${rest})`.execute(db)
    }
  }
  await sql`create index snapshots_created on snapshots (created_at, id)`.execute(db)
  for (const source of ['snapshot_id', 'source_volume_id']) {
    await sql`create index ${sql.ref(`volumes_of_${source}`)} on volumes (${sql.ref(source)})
      where ${sql.ref(source)} is not null`.execute(db)
  }
}
