import type { Kysely } from 'kysely'
import type { Migrations } from '../db/migrate.ts'

/** The queue's table. Owner name for `migrate`: `jobs`. */
export const jobMigrations: Migrations = {
  '0001-jobs': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('jobs')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('kind', 'text', (column) => column.notNull())
        .addColumn('resource', 'text', (column) => column.notNull())
        .addColumn('payload', 'text', (column) => column.notNull())
        .addColumn('state', 'text')
        .addColumn('attempts', 'integer', (column) => column.notNull().defaultTo(0))
        .addColumn('run_at', 'text', (column) => column.notNull())
        .addColumn('request_id', 'text', (column) => column.notNull())
        .addColumn('created_at', 'text', (column) => column.notNull())
        .execute()
      await db.schema.createIndex('jobs_run_at').on('jobs').columns(['run_at', 'id']).execute()
    },
  },
  '0002-job-workers': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .alterTable('jobs')
        .addColumn('stops', 'integer', (column) => column.notNull().defaultTo(0))
        .execute()
      await db.schema
        .createTable('job_workers')
        .addColumn('worker_id', 'text', (column) => column.primaryKey())
        .addColumn('lock_key', 'integer', (column) => column.notNull())
        .execute()
    },
  },
  '0003-jobs-by-resource': {
    async up(db: Kysely<unknown>) {
      await db.schema.createIndex('jobs_resource').on('jobs').columns(['resource', 'id']).execute()
    },
  },
}
