import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Types of resources that definitions can be bound to from the start, as upstream's database has them. */
const resourceTypes = [
  'OS::Cinder::Volume',
  'OS::Glance::Image',
  'OS::Nova::Aggregate',
  'OS::Nova::Flavor',
  'OS::Nova::Server',
  'OS::Trove::Instance',
]

/** Tasks that begin without an image, metadata definitions, and the cache's records. */
export const tasksMetadefsCache: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema.dropTable('image_tasks').execute() // nothing has written to it before
    await db.schema
      .createTable('image_tasks')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('owner', 'text')
      .addColumn('image_id', 'text')
      .addColumn('request_id', 'text', (column) => column.notNull())
      .addColumn('user_id', 'text', (column) => column.notNull())
      .addColumn('input', 'text', (column) => column.notNull())
      .addColumn('result', 'text')
      .addColumn('message', 'text', (column) => column.notNull())
      .addColumn('expires_at', 'text')
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .execute()
    await db.schema.createIndex('image_tasks_image').on('image_tasks').column('image_id').execute()
    await db.schema
      .createIndex('image_tasks_created')
      .on('image_tasks')
      .columns(['created_at', 'id'])
      .execute()

    await createMetadefs(db)

    await db.schema
      .createTable('image_cache')
      .addColumn('image_id', 'text', (column) => column.notNull())
      .addColumn('node', 'text', (column) => column.notNull())
      .addColumn('state', 'text', (column) => column.notNull())
      .addColumn('size', 'bigint', (column) => column.notNull())
      .addColumn('hits', 'bigint', (column) => column.notNull())
      .addColumn('last_accessed', 'text', (column) => column.notNull())
      .addColumn('last_modified', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('image_cache_key', ['image_id', 'node'])
      .execute()
  },
}

async function createMetadefs(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('metadef_namespaces')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('namespace', 'text', (column) => column.notNull().unique())
    .addColumn('display_name', 'text')
    .addColumn('description', 'text')
    .addColumn('visibility', 'text', (column) => column.notNull())
    .addColumn('protected', 'integer', (column) => column.notNull())
    .addColumn('owner', 'text')
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text', (column) => column.notNull())
    .execute()
  const part = (table: string) =>
    db.schema
      .createTable(table)
      .addColumn('namespace_id', 'text', (column) =>
        column.notNull().references('metadef_namespaces.id').onDelete('cascade'),
      )
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint(`${table}_key`, ['namespace_id', 'name'])
  await part('metadef_properties')
    .addColumn('body', 'text', (column) => column.notNull())
    .execute()
  await part('metadef_objects')
    .addColumn('description', 'text')
    .addColumn('required', 'text', (column) => column.notNull())
    .addColumn('properties', 'text', (column) => column.notNull())
    .execute()
  await part('metadef_tags').execute()
  await db.schema
    .createIndex('metadef_tags_any_case')
    .unique()
    .on('metadef_tags')
    .expression(sql`namespace_id, lower(name)`)
    .execute()
  await part('metadef_associations')
    .addColumn('prefix', 'text')
    .addColumn('properties_target', 'text')
    .execute()
  await db.schema
    .createTable('metadef_resource_types')
    .addColumn('name', 'text', (column) => column.primaryKey())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text', (column) => column.notNull())
    .execute()
  const now = new Date().toISOString()
  const tables = db as Kysely<{
    metadef_resource_types: { name: string; created_at: string; updated_at: string }
  }>
  await tables
    .insertInto('metadef_resource_types')
    .values(resourceTypes.map((name) => ({ name, created_at: now, updated_at: now })))
    .execute()
}
