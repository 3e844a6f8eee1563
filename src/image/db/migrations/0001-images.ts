import { type Kysely, sql } from 'kysely'
import type { Migration } from 'kysely/migration'

/** Images and what belongs to them. */
export const images: Migration = {
  async up(db: Kysely<unknown>) {
    await db.schema
      .createTable('images')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('name', 'text')
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('visibility', 'text', (column) => column.notNull())
      .addColumn('protected', 'integer', (column) => column.notNull())
      .addColumn('os_hidden', 'integer', (column) => column.notNull())
      .addColumn('owner', 'text')
      .addColumn('container_format', 'text')
      .addColumn('disk_format', 'text')
      .addColumn('min_disk', 'integer', (column) => column.notNull())
      .addColumn('min_ram', 'integer', (column) => column.notNull())
      .addColumn('size', 'bigint')
      .addColumn('virtual_size', 'bigint')
      .addColumn('checksum', 'text')
      .addColumn('os_hash_algo', 'text')
      .addColumn('os_hash_value', 'text')
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addColumn('deleted_at', 'text')
      .addColumn('upload_id', 'text')
      .addColumn('upload_alive_until', 'text')
      .execute()
    await db.schema
      .createIndex('images_created')
      .on('images')
      .columns(['created_at', 'id'])
      .where(sql.ref('deleted_at'), 'is', null)
      .execute()
    await db.schema.createIndex('images_owner').on('images').columns(['owner', 'created_at', 'id']).execute()
    await db.schema.createIndex('images_status').on('images').column('status').execute()

    await db.schema
      .createTable('image_properties')
      .addColumn('image_id', 'text', (column) => column.notNull().references('images.id'))
      .addColumn('name', 'text', (column) => column.notNull())
      .addColumn('value', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('image_properties_key', ['image_id', 'name'])
      .execute()
    await db.schema.createIndex('image_properties_name').on('image_properties').column('name').execute()

    await db.schema
      .createTable('image_tags')
      .addColumn('image_id', 'text', (column) => column.notNull().references('images.id'))
      .addColumn('value', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('image_tags_key', ['image_id', 'value'])
      .execute()

    await db.schema
      .createTable('image_locations')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('image_id', 'text', (column) => column.notNull().references('images.id'))
      .addColumn('position', 'integer', (column) => column.notNull())
      .addColumn('url', 'text', (column) => column.notNull())
      .addColumn('metadata', 'text', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull())
      .execute()
    await db.schema.createIndex('image_locations_image').on('image_locations').column('image_id').execute()
    await db.schema.createIndex('image_locations_status').on('image_locations').column('status').execute()

    await db.schema
      .createTable('image_members')
      .addColumn('image_id', 'text', (column) => column.notNull().references('images.id'))
      .addColumn('member', 'text', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('created_at', 'text', (column) => column.notNull())
      .addColumn('updated_at', 'text', (column) => column.notNull())
      .addPrimaryKeyConstraint('image_members_key', ['image_id', 'member'])
      .execute()
    await db.schema.createIndex('image_members_member').on('image_members').column('member').execute()

    await db.schema
      .createTable('image_tasks')
      .addColumn('id', 'text', (column) => column.primaryKey())
      .addColumn('type', 'text', (column) => column.notNull())
      .addColumn('status', 'text', (column) => column.notNull())
      .addColumn('owner', 'text')
      .addColumn('image_id', 'text', (column) => column.notNull().references('images.id'))
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
  },
}
