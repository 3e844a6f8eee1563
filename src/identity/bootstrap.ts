import type { Transaction } from 'kysely'
import { hashPassword } from '../kernel/crypto/passwords.ts'
import type { Secret } from '../kernel/secret.ts'
import { newId } from './context.ts'
import type { AssignmentRow, EndpointRow, IdentityTables } from './db/tables.ts'

export interface Bootstrap {
  /** Used by the first run only. */
  readonly adminPassword: Secret
  readonly region: string
  /** The catalog; a run after the first changes the URLs of what is there and adds what is missing. */
  readonly endpoints: readonly { readonly type: string; readonly name: string; readonly url: string }[]
  /** The account that services use between themselves; the password is used by the first run only. */
  readonly serviceUser: { readonly name: string; readonly password: Secret }
}

/** Upstream's default roles, each with those it implies. */
const roles: Readonly<Record<string, readonly string[]>> = {
  admin: ['manager'],
  manager: ['member'],
  member: ['reader'],
  reader: [],
  service: [],
}
const interfaces: readonly EndpointRow['interface'][] = ['public', 'internal', 'admin']

type Passwords = Readonly<Record<string, string>>

/** The hashes that a first run needs, made before its transaction because they take long. */
export async function bootstrapPasswords(
  db: Pick<Transaction<IdentityTables>, 'selectFrom'>,
  options: Bootstrap,
): Promise<Passwords> {
  const hashes: Record<string, string> = {}
  for (const [name, password] of [
    ['admin', options.adminPassword],
    [options.serviceUser.name, options.serviceUser.password],
  ] as const) {
    const row = await db
      .selectFrom('identity_users')
      .select('id')
      .where('domain_id', '=', 'default')
      .where('name', '=', name)
      .executeTakeFirst()
    if (row === undefined) hashes[name] = await hashPassword(password)
  }
  return hashes
}

/**
 * Makes what has to be there before anybody can log in, and leaves alone what is there already. Several
 * processes may do it at once.
 */
export async function bootstrap(
  db: Transaction<IdentityTables>,
  options: Bootstrap,
  passwords: Passwords,
): Promise<void> {
  await db
    .insertInto('identity_domains')
    .values({ id: 'default', name: 'Default', description: 'The default domain', enabled: 1, extra: '{}' })
    .onConflict((conflict) => conflict.doNothing())
    .execute()

  const firstRun = Object.keys(passwords).length > 0
  if (firstRun) await people(db, passwords)
  await catalog(db, options)
}

async function people(db: Transaction<IdentityTables>, passwords: Passwords): Promise<void> {
  const projectIds: Record<string, string> = {}
  for (const [name, description] of [
    ['admin', 'Bootstrap project for initializing the cloud.'],
    ['service', 'Accounts that services use between themselves.'],
  ] as const) {
    await db
      .insertInto('identity_projects')
      .values({
        id: newId(),
        name,
        domain_id: 'default',
        parent_id: 'default',
        description,
        enabled: 1,
        tags: '[]',
        extra: '{}',
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    projectIds[name] = await idOf(db, 'identity_projects', name)
  }

  const roleIds: Record<string, string> = {}
  for (const name of Object.keys(roles)) {
    await db
      .insertInto('identity_roles')
      .values({ id: newId(), name, domain_id: '', description: null })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    roleIds[name] = await idOf(db, 'identity_roles', name, '')
  }
  for (const [prior, implied] of Object.entries(roles).flatMap(([prior, all]) =>
    all.map((one) => [prior, one]),
  )) {
    await db
      .insertInto('identity_implied_roles')
      .values({
        prior_role_id: roleIds[prior ?? ''] ?? '',
        implied_role_id: roleIds[implied ?? ''] ?? '',
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
  }

  for (const [name, hash] of Object.entries(passwords)) {
    const project = projectIds[name === 'admin' ? 'admin' : 'service'] ?? null
    await db
      .insertInto('identity_users')
      .values({
        id: newId(),
        name,
        domain_id: 'default',
        default_project_id: null,
        enabled: 1,
        password_hash: hash,
        extra: '{}',
      })
      .onConflict((conflict) => conflict.doNothing())
      .execute()
    const userId = await idOf(db, 'identity_users', name)
    const grants: readonly (readonly [AssignmentRow['target_type'], string, string])[] = [
      ['project', project ?? '', 'admin'],
      name === 'admin' ? ['system', 'all', 'admin'] : ['project', project ?? '', 'service'],
    ]
    for (const [targetType, targetId, role] of grants) {
      await db
        .insertInto('identity_assignments')
        .values({
          actor_type: 'user',
          actor_id: userId,
          target_type: targetType,
          target_id: targetId,
          role_id: roleIds[role] ?? '',
          inherited: 0,
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    }
  }
}

async function catalog(db: Transaction<IdentityTables>, options: Bootstrap): Promise<void> {
  await db
    .insertInto('identity_regions')
    .values({ id: options.region, description: '', parent_region_id: null })
    .onConflict((conflict) => conflict.doNothing())
    .execute()
  for (const { type, name, url } of options.endpoints) {
    const known = await db
      .selectFrom('identity_services')
      .select('id')
      .where('type', '=', type)
      .executeTakeFirst()
    const serviceId = known?.id ?? newId()
    if (known === undefined) {
      await db
        .insertInto('identity_services')
        .values({ id: serviceId, type, name, description: '', enabled: 1 })
        .execute()
    }
    for (const one of interfaces) {
      const { numUpdatedRows } = await db
        .updateTable('identity_endpoints')
        .set({ url })
        .where('service_id', '=', serviceId)
        .where('interface', '=', one)
        .where('region_id', '=', options.region)
        .executeTakeFirst()
      if (Number(numUpdatedRows) > 0) continue
      await db
        .insertInto('identity_endpoints')
        .values({
          id: newId(),
          service_id: serviceId,
          region_id: options.region,
          interface: one,
          url,
          enabled: 1,
        })
        .execute()
    }
  }
}

async function idOf(
  db: Transaction<IdentityTables>,
  table: 'identity_projects' | 'identity_roles' | 'identity_users',
  name: string,
  domainId = 'default',
): Promise<string> {
  const row = await db
    .selectFrom(table)
    .select('id')
    .where('name', '=', name)
    .where('domain_id', '=', domainId)
    .executeTakeFirstOrThrow()
  return row.id
}
