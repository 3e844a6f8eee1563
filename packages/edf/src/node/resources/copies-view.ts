import type { Volume } from '../../schemas/volume.ts'
import type { NodeContext } from '../context.ts'
import type { VolumeRow } from '../database/rows.ts'
import { modeOf } from '../replicas/open-replicas.ts'
import { lacksFlash, type PlacementMode } from '../replicas/placement.ts'

export type Health = 'ok' | 'warning' | 'critical'

/** What a volume's copies make of its state. EDF API specification, section 2.0.6. */
export type CopiesView = Pick<
  Volume,
  'op_state' | 'op_status' | 'availability_state' | 'recovery_state' | 'storage_state' | 'health' | 'causes'
>

/** Tells of the copies of many volumes; each placement is looked up once. */
export function copiesViewer(node: NodeContext): (row: VolumeRow) => CopiesView {
  const modes = new Map<string, PlacementMode>()
  return (row) => {
    const placement = `${row.placement_mode} ${row.placement_policy}`
    const mode = modes.get(placement) ?? modeOf(node.database, row)
    modes.set(placement, mode)
    return copiesView(node, row, mode)
  }
}

/** Tells of missing copies, of copies on the wrong media, and of those that are being built. */
function copiesView(node: NodeContext, row: VolumeRow, mode: PlacementMode): CopiesView {
  const { store, rebuilds } = node
  const copies = store.holders(row.store_id)
  const missing = row.replica_count - copies.length
  const progress = rebuilds.progressOf(row.store_id)
  const failure = rebuilds.failureOf(row.store_id)
  const wrongMedia = lacksFlash(
    mode,
    copies.map(({ medium }) => medium.kind),
  )
  const causes: string[] = []
  if (copies.length === 0) causes.push('no copy of the data can be reached')
  else if (missing > 0) causes.push(missingCause(node, copies.length, row.replica_count))
  if (copies.length > 0 && wrongMedia) causes.push('there is not enough flash for the placement')
  if (progress !== undefined) {
    const percent = Math.floor((progress.doneBytes / Math.max(1, progress.totalBytes)) * 100)
    causes.push(`a copy is being built: ${percent} %`)
  }
  if (failure !== undefined) causes.push(`a copy could not be built: ${failure}`)
  const isReachable = copies.length > 0
  return {
    op_state: isReachable ? 'available' : 'unavailable',
    op_status: progress === undefined ? 'none' : 'replica_change_in_progress',
    availability_state: isReachable ? 'available' : 'unavailable',
    recovery_state: recoveryState(
      progress !== undefined,
      failure !== undefined,
      missing > 0 && canRecover(node, copies.length),
    ),
    storage_state: missing > 0 ? 'replicas_degraded' : wrongMedia ? 'flash_degraded' : '',
    health: !isReachable ? 'critical' : causes.length > 0 ? 'warning' : 'ok',
    causes,
  }
}

/** Causes for the whole system: what is missing, and how many volumes suffer. */
export function systemCauses(node: NodeContext): string[] {
  const causes = node.store.media.flatMap(({ path, failure }) =>
    failure === undefined ? [] : [`the data directory ${path} is missing: ${failure}`],
  )
  const degraded = degradedVolumes(node)
  if (degraded > 0) causes.push(`${degraded} volumes have fewer copies than their replica_count`)
  return causes
}

/** Volumes with fewer current copies, on media that are there, than wanted. */
export function degradedVolumes({ database, store }: Pick<NodeContext, 'database' | 'store'>): number {
  const row = database.get<{ count: number }>(
    `SELECT count(*) AS count FROM volume WHERE state = 'ready' AND replica_count >
       (SELECT count(*) FROM copy WHERE copy.store_id = volume.store_id AND copy.state = 'current'
        AND copy.medium IN (SELECT value FROM json_each(?)))`,
    JSON.stringify(store.present().map(({ medium }) => medium.id)),
  )
  return row?.count ?? 0
}

/** The worse of several. */
export function worst(healths: readonly (string | undefined)[]): Health {
  if (healths.includes('critical')) return 'critical'
  return healths.includes('warning') ? 'warning' : 'ok'
}

function missingCause({ store }: NodeContext, found: number, wanted: number): string {
  const present = store.present().length
  const reason =
    present < wanted ? `, because ${present} of ${store.media.length} data directories can be used` : ''
  return `there are ${found} of ${wanted} copies${reason}`
}

function canRecover({ store }: NodeContext, copies: number): boolean {
  return copies > 0 && store.present().length > copies
}

function recoveryState(isRunning: boolean, hasFailed: boolean, isPending: boolean): string {
  if (isRunning) return 'recovery_in_progress'
  if (hasFailed) return 'recovery_failed'
  return isPending ? 'recovery_pending' : ''
}
