import type { AlertLog } from '../alert-log.ts'
import type { Database } from '../database/database.ts'
import type { SnapshotRow, VolumeRow } from '../database/rows.ts'
import { EdfNodeStartError, messageOf } from '../errors.ts'
import type { EventLog } from '../event-log.ts'
import { findDocument } from '../resources/documents.ts'
import { nameOf } from '../resources/locate.ts'
import { CopyTable } from './copy-table.ts'
import { type DataDirectory, Medium } from './medium.ts'
import type { PlacementMode, Wanted } from './placement.ts'
import { Rebuilds } from './rebuilds.ts'
import { ReplicatedStore } from './replicated-store.ts'
import { storedPath } from './stored-path.ts'

/** Bytes that the building of copies moves in a second, at most. */
const REBUILD_BYTES_PER_SECOND = 256 * 1024 * 1024

/** The node's parts that replicas tell what happens. */
export interface ReplicaParts {
  readonly database: Database
  readonly events: EventLog
  readonly alerts: AlertLog
  readonly systemUuid: string
  readonly directories: readonly DataDirectory[]
  failed(during: string, error: unknown): void
}

/**
 * Opens the media, and the store over them.
 * @throws EdfNodeStartError when none of them can be used
 */
export async function openReplicas(
  parts: ReplicaParts,
): Promise<{ store: ReplicatedStore; rebuilds: Rebuilds }> {
  const { database } = parts
  const table = new CopyTable(database)
  const media: Medium[] = []
  for (const directory of parts.directories) {
    media.push(await Medium.at(directory, parts.systemUuid, table.mediumAt(directory.path)))
  }
  const store = new ReplicatedStore(media, table, {
    wanted: (id) => wantedOf(database, id),
    ownerOf: (id) =>
      database.get<Pick<SnapshotRow, 'volume'>>('SELECT volume FROM snapshot WHERE store_id = ?', id)?.volume,
    damaged: (id, offset, medium, repaired) => tellDamage(parts, { id, offset, medium, repaired }),
    changed: (id) => rebuilds.wake(id),
    failed: parts.failed,
  })
  const snapshotsOf = (id: string) =>
    database
      .all<Pick<SnapshotRow, 'store_id'>>(
        `SELECT store_id FROM snapshot WHERE volume = ? AND state = 'ready' ORDER BY utc_ts`,
        id,
      )
      .map(({ store_id }) => store_id)
  const rebuilds = new Rebuilds(store, { snapshotsOf, failed: parts.failed }, REBUILD_BYTES_PER_SECOND)
  await store.start()
  if (store.present().length === 0) {
    const reasons = media.map(({ path, failure }) => `${path}: ${failure}`).join('; ')
    await store[Symbol.asyncDispose]()
    const locked = media.some(({ failure }) => failure?.includes('in use by another') === true)
    throw new EdfNodeStartError(locked ? 'EDIRLOCKED' : 'EDIRDAMAGED', `cannot open the store: ${reasons}`)
  }
  return { store, rebuilds }
}

/** What the metadata say that a volume should have. */
export function wantedOf(database: Database, storeId: string): Wanted | undefined {
  const row = database.get<Pick<VolumeRow, 'replica_count' | 'placement_mode' | 'placement_policy'>>(
    'SELECT replica_count, placement_mode, placement_policy FROM volume WHERE store_id = ?',
    storeId,
  )
  return row && { replicaCount: row.replica_count, mode: modeOf(database, row) }
}

/** The policy decides; the one named `default`, which stands for "none", leaves it to the mode. */
export function modeOf(
  database: Database,
  row: Pick<VolumeRow, 'placement_mode' | 'placement_policy'>,
): PlacementMode {
  const policy: { resolved_path?: string; resolved_tenant?: string } = JSON.parse(row.placement_policy)
  const name = nameOf(policy.resolved_path ?? '')
  if (name === '' || name === 'default') return asMode(row.placement_mode)
  const seeded = name.replace('-', '_')
  if (seeded === 'single_flash' || seeded === 'all_flash' || seeded === 'hybrid') return seeded
  const document = findDocument({ database }, 'placement_policies', policy.resolved_tenant ?? '/root', name)
  const content: { max?: string[]; min?: string[] } = JSON.parse(document?.content ?? '{}')
  const media = [...(content.max ?? []), ...(content.min ?? [])].map(nameOf)
  const isFlash = (medium: string) => medium === 'flash' || medium === 'all-flash'
  if (!media.some(isFlash)) return 'hybrid'
  return media.every(isFlash) ? 'all_flash' : 'single_flash'
}

function asMode(mode: string): PlacementMode {
  return mode === 'single_flash' || mode === 'all_flash' ? mode : 'hybrid'
}

/** An event for each damaged block, and an alert as long as it cannot be repaired. */
function tellDamage(
  { database, events, alerts, failed }: ReplicaParts,
  damage: { id: string; offset: number; medium: string; repaired: boolean },
): void {
  const { id, offset, medium, repaired } = damage
  try {
    const place = storedPath(database, id)
    if (place === undefined) return
    const what = `the block of 4096 bytes at byte ${offset} of ${place.path} on the medium ${medium}`
    const code = repaired ? 'VOLUME_DATA_REPAIRED' : 'VOLUME_DATA_DAMAGED'
    const description = `${what} did not have its checksum${repaired ? ', and was repaired from another copy' : ''}`
    const severity = repaired ? 'warning' : 'critical'
    const { path, tenant } = place
    events.note({
      kind: 'system',
      code,
      description,
      tenant,
      objectPath: path,
      severity,
      context: { offset, medium },
    })
    if (!repaired) alerts.raise({ code, severity, description, tenant, object_path: path })
  } catch (error) {
    failed(`telling of damage (${messageOf(error)})`, error)
  }
}
