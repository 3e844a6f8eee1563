import type { CreateTableBuilder, Kysely } from 'kysely'
import type { Migrations } from '../../kernel/db/migrate.ts'

type TableBuilder = CreateTableBuilder<string, string>

const requiredText = (table: TableBuilder, ...names: readonly string[]): TableBuilder =>
  names.reduce((builder, name) => builder.addColumn(name, 'text', (column) => column.notNull()), table)

/** The identity service's tables. Owner name for `migrate`: `identity`. */
export const identityMigrations: Migrations = {
  '0001-identity': {
    async up(db: Kysely<unknown>) {
      const withId = (name: string) =>
        db.schema.createTable(name).addColumn('id', 'text', (column) => column.primaryKey())

      await requiredText(withId('identity_domains'), 'name', 'description', 'extra')
        .addColumn('enabled', 'integer', (column) => column.notNull())
        .addUniqueConstraint('identity_domains_name', ['name'])
        .execute()

      await requiredText(
        withId('identity_projects'),
        'name',
        'domain_id',
        'parent_id',
        'description',
        'tags',
        'extra',
      )
        .addColumn('enabled', 'integer', (column) => column.notNull())
        .addUniqueConstraint('identity_projects_name', ['domain_id', 'name'])
        .execute()

      await requiredText(withId('identity_users'), 'name', 'domain_id', 'extra')
        .addColumn('default_project_id', 'text')
        .addColumn('password_hash', 'text')
        .addColumn('enabled', 'integer', (column) => column.notNull())
        .addUniqueConstraint('identity_users_name', ['domain_id', 'name'])
        .execute()

      await requiredText(withId('identity_groups'), 'name', 'domain_id', 'description')
        .addUniqueConstraint('identity_groups_name', ['domain_id', 'name'])
        .execute()

      await requiredText(db.schema.createTable('identity_group_members'), 'group_id', 'user_id')
        .addPrimaryKeyConstraint('identity_group_members_key', ['group_id', 'user_id'])
        .execute()
      await db.schema
        .createIndex('identity_group_members_user')
        .on('identity_group_members')
        .column('user_id')
        .execute()

      await requiredText(withId('identity_roles'), 'name', 'domain_id')
        .addColumn('description', 'text')
        .addUniqueConstraint('identity_roles_name', ['domain_id', 'name'])
        .execute()

      await requiredText(db.schema.createTable('identity_implied_roles'), 'prior_role_id', 'implied_role_id')
        .addPrimaryKeyConstraint('identity_implied_roles_key', ['prior_role_id', 'implied_role_id'])
        .execute()

      const assignmentKey = ['actor_type', 'actor_id', 'target_type', 'target_id', 'role_id'] as const
      await requiredText(db.schema.createTable('identity_assignments'), ...assignmentKey)
        .addColumn('inherited', 'integer', (column) => column.notNull())
        .addPrimaryKeyConstraint('identity_assignments_key', [...assignmentKey, 'inherited'])
        .execute()

      await requiredText(withId('identity_regions'), 'description')
        .addColumn('parent_region_id', 'text')
        .execute()

      await requiredText(withId('identity_services'), 'type', 'name', 'description')
        .addColumn('enabled', 'integer', (column) => column.notNull())
        .execute()

      await requiredText(withId('identity_endpoints'), 'service_id', 'interface', 'url')
        .addColumn('region_id', 'text')
        .addColumn('enabled', 'integer', (column) => column.notNull())
        .execute()

      await requiredText(
        withId('identity_application_credentials'),
        'name',
        'description',
        'user_id',
        'project_id',
        'secret_hash',
        'role_ids',
      )
        .addColumn('unrestricted', 'integer', (column) => column.notNull())
        .addColumn('expires_at', 'text')
        .addUniqueConstraint('identity_application_credentials_name', ['user_id', 'name'])
        .execute()

      await requiredText(
        db.schema.createTable('identity_tokens').addColumn('digest', 'text', (column) => column.primaryKey()),
        'user_id',
        'methods',
        'audit_ids',
        'scope_type',
        'scope_id',
        'issued_at',
        'expires_at',
      )
        .addColumn('application_credential_id', 'text')
        .execute()
      await db.schema.createIndex('identity_tokens_user').on('identity_tokens').column('user_id').execute()
      await db.schema
        .createIndex('identity_tokens_expires_at')
        .on('identity_tokens')
        .column('expires_at')
        .execute()
    },
  },
}
