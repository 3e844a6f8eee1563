import type { CreateTableBuilder, Kysely } from 'kysely'

type Table = CreateTableBuilder<string, string>

/** Text columns; a name that ends in `!` may not be null. */
function texts(table: Table, names: string): Table {
  return names.split(' ').reduce((built: Table, name) => {
    if (name.endsWith('!')) return built.addColumn(name.slice(0, -1), 'text', (column) => column.notNull())
    return built.addColumn(name, 'text')
  }, table)
}

/** Whole numbers; a name that ends in `!` may not be null. */
function integers(table: Table, names: string): Table {
  return names.split(' ').reduce((built: Table, name) => {
    if (name.endsWith('!')) return built.addColumn(name.slice(0, -1), 'integer', (column) => column.notNull())
    return built.addColumn(name, 'integer')
  }, table)
}

function withId(db: Kysely<unknown>, name: string): Table {
  return db.schema.createTable(name).addColumn('id', 'text', (column) => column.primaryKey())
}

export async function up(db: Kysely<unknown>): Promise<void> {
  let table = withId(db, 'volumes')
  table = texts(table, 'project_id! user_id! name description status! previous_status attach_status!')
  table = texts(table, 'migration_status host availability_zone volume_type_id snapshot_id source_volume_id')
  table = texts(
    table,
    'replication_status group_id encryption_key_id provider_location provider_id service_id',
  )
  table = texts(table, 'metadata! admin_metadata! image_metadata created_at! updated_at launched_at')
  table = integers(table, 'size_gib! pending_size_gib bootable! multiattach! consumes_quota!')
  await table.execute()
  const index = (name: string, on: string, columns: string[]) =>
    db.schema.createIndex(name).on(on).columns(columns).execute()
  await index('volumes_project', 'volumes', ['project_id', 'created_at', 'id'])
  await index('volumes_created', 'volumes', ['created_at', 'id'])
  await index('volumes_host', 'volumes', ['host'])
  await index('volumes_type', 'volumes', ['volume_type_id'])

  table = withId(db, 'snapshots')
  table = texts(table, 'project_id! user_id! volume_id! volume_type_id name description status! progress')
  table = texts(table, 'encryption_key_id provider_location metadata! created_at! updated_at')
  await integers(table, 'size_gib! consumes_quota!').execute()
  await index('snapshots_project', 'snapshots', ['project_id', 'created_at', 'id'])
  await index('snapshots_volume', 'snapshots', ['volume_id'])

  table = withId(db, 'volume_attachments')
  table = texts(table, 'volume_id! project_id! instance_id attached_host mountpoint attach_mode!')
  table = texts(table, 'attach_status! connector connection_info attached_at detached_at created_at!')
  await table.execute()
  await index('volume_attachments_volume', 'volume_attachments', ['volume_id'])
  await index('volume_attachments_project', 'volume_attachments', ['project_id', 'created_at', 'id'])

  table = withId(db, 'volume_types')
  table = texts(table, 'description extra_specs! created_at! updated_at')
  table = table.addColumn('name', 'text', (column) => column.notNull().unique())
  await integers(table, 'is_public!').execute()

  await texts(db.schema.createTable('volume_type_projects'), 'volume_type_id! project_id!')
    .addPrimaryKeyConstraint('volume_type_projects_key', ['volume_type_id', 'project_id'])
    .execute()
  await texts(db.schema.createTable('default_volume_types'), 'project_id! volume_type_id!')
    .addPrimaryKeyConstraint('default_volume_types_key', ['project_id'])
    .execute()

  await integers(texts(db.schema.createTable('volume_quotas'), 'project_id! resource!'), 'hard_limit!')
    .addPrimaryKeyConstraint('volume_quotas_key', ['project_id', 'resource'])
    .execute()
  await integers(texts(db.schema.createTable('volume_quota_classes'), 'class_name! resource!'), 'hard_limit!')
    .addPrimaryKeyConstraint('volume_quota_classes_key', ['class_name', 'resource'])
    .execute()
  await integers(texts(db.schema.createTable('volume_quota_locks'), 'project_id!'), 'taken!')
    .addPrimaryKeyConstraint('volume_quota_locks_key', ['project_id'])
    .execute()

  table = withId(db, 'volume_messages')
  table = texts(table, 'project_id! request_id! resource_type! resource_uuid action_id! detail_id! event_id!')
  await texts(table, 'sentence message_level! expires_at! created_at!').execute()
  await index('volume_messages_project', 'volume_messages', ['project_id', 'created_at', 'id'])

  table = withId(db, 'volume_services')
  table = texts(
    table,
    'host! binary! availability_zone! disabled_reason backend_state created_at! updated_at!',
  )
  await integers(table, 'disabled!')
    .addUniqueConstraint('volume_services_host_binary', ['host', 'binary'])
    .execute()
}
