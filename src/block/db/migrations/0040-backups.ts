import type { CreateTableBuilder, Kysely } from 'kysely'

type Table = CreateTableBuilder<string, string>

/** Text columns; a name that ends in `!` may not be null. */
function texts(table: Table, names: string): Table {
  return names.split(' ').reduce((built: Table, name) => {
    if (name.endsWith('!')) return built.addColumn(name.slice(0, -1), 'text', (column) => column.notNull())
    return built.addColumn(name, 'text')
  }, table)
}

/** Backups of volumes. */
export async function up(db: Kysely<unknown>): Promise<void> {
  let table: Table = db.schema.createTable('backups').addColumn('id', 'text', (column) => column.primaryKey())
  table = texts(table, 'project_id! user_id! volume_id! snapshot_id parent_id name description status!')
  table = texts(table, 'fail_reason container service handler service_metadata metadata_sha256')
  table = texts(table, 'availability_zone host encryption_key_id metadata! activity restore_volume_id')
  table = texts(table, 'data_timestamp! created_at! updated_at')
  for (const name of ['size_gib', 'object_count', 'encrypted']) {
    table = table.addColumn(name, 'integer', (column) => column.notNull())
  }
  await table.execute()
  const index = (name: string, columns: string[]) =>
    db.schema.createIndex(name).on('backups').columns(columns).execute()
  await index('backups_project', ['project_id', 'created_at', 'id'])
  await index('backups_volume', ['volume_id'])
  await index('backups_parent', ['parent_id'])
}
