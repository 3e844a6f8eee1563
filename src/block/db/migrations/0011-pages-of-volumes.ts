import { type Kysely, sql } from 'kysely'

/**
 * What pages of volumes are read by, so that a page costs the same however many volumes there are: an index for each
 * order that clients ask for, in one project and in all. Orders are those of `listing.ts`: nulls first, then the
 * time of creation, then the id.
 */
export async function up(db: Kysely<unknown>): Promise<void> {
  const orders = {
    name: "coalesce(name, '')",
    status: 'status',
    size: 'size_gib',
    updated: "coalesce(updated_at, '')",
    bootable: 'bootable',
    zone: "coalesce(availability_zone, '')",
    host: "coalesce(host, '')",
    type: "coalesce(volume_type_id, '')",
  }
  for (const [name, column] of Object.entries(orders)) {
    const rest = sql.raw(`${column}, created_at, id`)
    await sql`create index ${sql.ref(`volumes_project_${name}`)} on volumes (project_id, ${rest})`.execute(db)
    await sql`create index ${sql.ref(`volumes_by_${name}`)} on volumes (${rest})`.execute(db)
  }
  const covering = (name: string, columns: string[]) =>
    db.schema.createIndex(name).on('volumes').columns(columns).execute()
  // counted without a look at the rows themselves: usage of quotas, `with_count`, the summary
  const used = ['project_id', 'consumes_quota', 'volume_type_id', 'size_gib', 'pending_size_gib']
  await covering('volumes_usage', used)
  await covering('volumes_count', ['project_id', 'migration_status', 'size_gib'])
}
