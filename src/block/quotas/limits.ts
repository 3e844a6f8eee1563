import { sql, type Transaction } from 'kysely'
import { OverQuota } from '../../kernel/errors.ts'
import type { BlockDb } from '../context.ts'
import type { Tables } from '../db/tables.ts'
import type { BlockSettings } from '../settings.ts'
import { typeResources } from './type-limits.ts'

/** Resources that every project has limits of, in the order in which the API shows them. */
export function baseLimits(settings: BlockSettings): Readonly<Record<string, number>> {
  return {
    volumes: settings.quotaVolumes,
    snapshots: settings.quotaSnapshots,
    gigabytes: settings.quotaGigabytes,
    backups: settings.quotaBackups,
    backup_gigabytes: settings.quotaBackupGigabytes,
    per_volume_gigabytes: settings.perVolumeSizeLimit,
    groups: settings.quotaGroups,
  }
}

/** How much of a resource a project uses, and how much it has asked for that is not there yet. */
export interface Usage {
  inUse: number
  reserved: number
}

/** The default limits: those of the configuration, those of each volume type, and the default quota class. */
export async function defaultLimits(
  db: BlockDb,
  settings: BlockSettings,
  className = 'default',
): Promise<Record<string, number>> {
  const limits: Record<string, number> = { ...baseLimits(settings) }
  for (const { name } of await db.selectFrom('volume_types').select('name').orderBy('name').execute()) {
    for (const resource of typeResources(name)) limits[resource] = -1
  }
  if (className !== 'default' || settings.useDefaultQuotaClass) {
    const rows = await db
      .selectFrom('volume_quota_classes')
      .selectAll()
      .where('class_name', '=', className)
      .execute()
    for (const row of rows) if (row.resource in limits) limits[row.resource] = row.hard_limit
  }
  return limits
}

/** The limits of a project: its own before the defaults. */
export async function projectLimits(
  db: BlockDb,
  settings: BlockSettings,
  projectId: string,
): Promise<Record<string, number>> {
  const limits = await defaultLimits(db, settings)
  const rows = await db.selectFrom('volume_quotas').selectAll().where('project_id', '=', projectId).execute()
  for (const row of rows) if (row.resource in limits) limits[row.resource] = row.hard_limit
  return limits
}

/**
 * What a project uses, by the totals that the database keeps of its rows: `reserved` is the growth of volumes that
 * are being extended.
 */
export async function projectUsage(
  db: BlockDb,
  settings: BlockSettings,
  projectId: string,
): Promise<ReadonlyMap<string, Usage>> {
  const usage = new Map<string, Usage>()
  const add = (resource: string, inUse: number, reserved = 0) => {
    const known = usage.get(resource)
    if (known === undefined) usage.set(resource, { inUse, reserved })
    else {
      known.inUse += inUse
      known.reserved += reserved
    }
  }
  const volumes = await sql<{ type: string | null; count: number; size: number; growth: number }>`
    select (select name from volume_types where volume_types.id = volume_type_id) as type,
      sum(volumes) as count, sum(size_gib) as size, sum(growth_gib) as growth
    from volume_totals where project_id = ${projectId} and consumes_quota = 1 group by volume_type_id`.execute(
    db,
  )
  for (const row of volumes.rows) {
    const [count, size, growth] = [Number(row.count), Number(row.size), Number(row.growth)]
    add('volumes', count)
    add('gigabytes', size, growth)
    if (row.type === null) continue
    add(`volumes_${row.type}`, count)
    add(`gigabytes_${row.type}`, size, growth)
  }
  const snapshots = await sql<{ type: string | null; count: number; size: number }>`
    select (select name from volume_types where volume_types.id = volume_type_id) as type,
      sum(snapshots) as count, sum(size_gib) as size
    from snapshot_totals where project_id = ${projectId} and consumes_quota = 1 group by volume_type_id`.execute(
    db,
  )
  for (const row of snapshots.rows) {
    const [count, size] = [Number(row.count), settings.noSnapshotGbQuota ? 0 : Number(row.size)]
    add('snapshots', count)
    add('gigabytes', size)
    if (row.type === null) continue
    add(`snapshots_${row.type}`, count)
    add(`gigabytes_${row.type}`, size)
  }
  const groups = await sql<{ count: number }>`
    select count(*) as count from volume_groups where project_id = ${projectId}`.execute(db)
  add('groups', Number(groups.rows[0]?.count ?? 0))
  const backups = await sql<{ count: number; size: number | null }>`
    select count(*) as count, sum(size_gib) as size from backups where project_id = ${projectId}`.execute(db)
  add('backups', Number(backups.rows[0]?.count ?? 0))
  add('backup_gigabytes', Number(backups.rows[0]?.size ?? 0))
  return usage
}

/** What a request adds to a project's use. */
export interface Claim {
  readonly volumes?: number
  readonly snapshots?: number
  readonly gigabytes?: number
  readonly backups?: number
  readonly backupGigabytes?: number
  readonly groups?: number
  /** The new size of a volume, checked against `per_volume_gigabytes`. */
  readonly volumeSizeGib?: number
  readonly typeName: string | null
  /** Counts against the limits of the type only: the volume itself is there already. */
  readonly ofTypeOnly?: boolean
}

/**
 * Checks a claim against the project's quota, in the transaction that inserts what is claimed. Claims of one
 * project wait for each other, so that two cannot share the last unit.
 * @throws OverQuota in upstream's words @see block-storage-api specification 1.5, 5.1
 */
export async function claimQuota(
  transaction: Transaction<Tables>,
  settings: BlockSettings,
  projectId: string,
  claim: Claim,
): Promise<void> {
  await transaction
    .insertInto('volume_quota_locks')
    .values({ project_id: projectId, taken: 1 })
    .onConflict((conflict) =>
      conflict.column('project_id').doUpdateSet({ taken: sql`1 - volume_quota_locks.taken` }),
    )
    .execute()
  const limits = await projectLimits(transaction, settings, projectId)
  const perVolume = limits['per_volume_gigabytes'] ?? -1
  if (claim.volumeSizeGib !== undefined && perVolume >= 0 && claim.volumeSizeGib > perVolume) {
    throw new OverQuota(
      `VolumeSizeExceedsLimit: Requested volume size ${claim.volumeSizeGib}G is larger than maximum allowed limit ${perVolume}G.`,
    )
  }
  const usage = await projectUsage(transaction, settings, projectId)
  const check = (resource: string, more: number | undefined, refuse: (text: Refusal) => string) => {
    const limit = limits[resource] ?? -1
    if (more === undefined || more <= 0 || limit < 0) return
    const used = usage.get(resource) ?? { inUse: 0, reserved: 0 }
    const consumed = used.inUse + used.reserved
    if (consumed + more > limit) throw new OverQuota(refuse({ resource, limit, consumed, more }))
  }
  const suffixed = (resource: string) => [
    ...(claim.ofTypeOnly ? [] : [resource]),
    ...(claim.typeName === null ? [] : [`${resource}_${claim.typeName}`]),
  ]
  check('backup_gigabytes', claim.backupGigabytes, backupGigabytesRefusal)
  check('backups', claim.backups, backupsRefusal)
  for (const resource of suffixed('gigabytes')) check(resource, claim.gigabytes, gigabytesRefusal)
  for (const resource of suffixed('volumes')) check(resource, claim.volumes, volumesRefusal)
  for (const resource of suffixed('snapshots')) check(resource, claim.snapshots, snapshotsRefusal)
  check('groups', claim.groups, groupsRefusal)
}

interface Refusal {
  readonly resource: string
  readonly limit: number
  readonly consumed: number
  readonly more: number
}

const gigabytesRefusal = ({ resource, limit, consumed, more }: Refusal) =>
  `VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed ${resource} quota. ` +
  `Requested ${more}G, quota is ${limit}G and ${consumed}G has been consumed.`

const volumesRefusal = ({ resource, limit }: Refusal) =>
  `VolumeLimitExceeded: Maximum number of volumes allowed (${limit}) exceeded for quota '${resource}'.`

const snapshotsRefusal = ({ limit }: Refusal) =>
  `SnapshotLimitExceeded: Maximum number of snapshots allowed (${limit}) exceeded`

const groupsRefusal = ({ limit }: Refusal) =>
  `GroupLimitExceeded: Maximum number of groups allowed (${limit}) exceeded`

const backupGigabytesRefusal = ({ limit, consumed, more }: Refusal) =>
  `VolumeBackupSizeExceedsAvailableQuota: Requested backup exceeds allowed Backup gigabytes quota. ` +
  `Requested ${more}G, quota is ${limit}G and ${consumed}G has been consumed.`

const backupsRefusal = ({ limit }: Refusal) =>
  `BackupLimitExceeded: Maximum number of backups allowed (${limit}) exceeded`
