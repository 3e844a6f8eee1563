import type { CreateTableBuilder, Kysely } from 'kysely'

type Table = CreateTableBuilder<string, string>

/** Text columns; a name that ends in `!` may not be null. */
function texts(table: Table, names: string): Table {
  return names.split(' ').reduce((built: Table, name) => {
    if (name.endsWith('!')) return built.addColumn(name.slice(0, -1), 'text', (column) => column.notNull())
    return built.addColumn(name, 'text')
  }, table)
}

/** Group types, groups and their snapshots; transfers; the image-volume cache; the twin of a migrated volume. */
export async function up(db: Kysely<unknown>): Promise<void> {
  const withId = (name: string): Table =>
    db.schema.createTable(name).addColumn('id', 'text', (column) => column.primaryKey())
  const flag = (table: Table, name: string) => table.addColumn(name, 'integer', (column) => column.notNull())
  const index = (name: string, on: string, columns: string[]) =>
    db.schema.createIndex(name).on(on).columns(columns).execute()

  await db.schema.alterTable('volumes').addColumn('name_id', 'text').execute()
  await index('volumes_group', 'volumes', ['group_id'])
  await db.schema.alterTable('snapshots').addColumn('group_snapshot_id', 'text').execute()
  await index('snapshots_group_snapshot', 'snapshots', ['group_snapshot_id'])

  let table = texts(withId('volume_group_types'), 'description group_specs! created_at! updated_at')
  table = table.addColumn('name', 'text', (column) => column.notNull().unique())
  await flag(table, 'is_public').execute()

  table = texts(withId('volume_groups'), 'project_id! user_id! name description status! availability_zone')
  table = texts(table, 'group_type_id! host group_snapshot_id source_group_id replication_status')
  await texts(table, 'created_at! updated_at').execute()
  await index('volume_groups_project', 'volume_groups', ['project_id', 'created_at', 'id'])
  await texts(db.schema.createTable('volume_group_volume_types'), 'group_id! volume_type_id!')
    .addPrimaryKeyConstraint('volume_group_volume_types_key', ['group_id', 'volume_type_id'])
    .execute()

  table = texts(withId('volume_group_snapshots'), 'project_id! user_id! group_id! group_type_id! name')
  await texts(table, 'description status! created_at! updated_at').execute()
  await index('volume_group_snapshots_project', 'volume_group_snapshots', ['project_id', 'created_at', 'id'])

  table = texts(withId('volume_transfers'), 'volume_id! name salt! key_hash! source_project_id!')
  await flag(texts(table, 'created_at!'), 'no_snapshots').execute()
  await index('volume_transfers_volume', 'volume_transfers', ['volume_id'])

  table = texts(withId('volume_image_cache'), 'image_id! host! image_checksum volume_id! last_used_at!')
  await table
    .addColumn('size_gib', 'integer', (column) => column.notNull())
    .addUniqueConstraint('volume_image_cache_place', ['image_id', 'host'])
    .execute()
}
