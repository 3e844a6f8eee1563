import type { Kysely } from 'kysely'

/** QoS specs, encryption of types, replication and freezing of services; what pages of long lists are read by. */
export async function up(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('volume_qos_specs')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('name', 'text', (column) => column.notNull().unique())
    .addColumn('consumer', 'text', (column) => column.notNull())
    .addColumn('specs', 'text', (column) => column.notNull())
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text')
    .execute()
  await db.schema.alterTable('volume_types').addColumn('qos_specs_id', 'text').execute()

  await db.schema
    .createTable('volume_type_encryptions')
    .addColumn('id', 'text', (column) => column.primaryKey())
    .addColumn('volume_type_id', 'text', (column) => column.notNull().unique())
    .addColumn('provider', 'text', (column) => column.notNull())
    .addColumn('control_location', 'text', (column) => column.notNull())
    .addColumn('cipher', 'text')
    .addColumn('key_size', 'integer')
    .addColumn('created_at', 'text', (column) => column.notNull())
    .addColumn('updated_at', 'text')
    .execute()

  const services = db.schema.alterTable('volume_services')
  await services.addColumn('frozen', 'integer', (column) => column.notNull().defaultTo(0)).execute()
  await services.addColumn('replication_status', 'text').execute()
  await services.addColumn('active_backend_id', 'text').execute()
}
