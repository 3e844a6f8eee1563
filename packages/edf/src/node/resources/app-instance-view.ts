import type { AppInstance } from '../../schemas/app-instance.ts'
import type { ResolvedReference } from '../../schemas/common.ts'
import type { Snapshot } from '../../schemas/snapshot.ts'
import type { StorageInstance } from '../../schemas/storage-instance.ts'
import type { Volume } from '../../schemas/volume.ts'
import { productHas } from '../../versions.ts'
import type { NodeContext } from '../context.ts'
import { portalsOfPool } from '../data-plane/pool-portals.ts'
import type {
  AppInstanceRow,
  AppSnapshotRow,
  SnapshotRow,
  StorageInstanceRow,
  VolumeRow,
} from '../database/rows.ts'
import { gib } from '../units.ts'
import { aclPaths } from './acl-policy.ts'
import { authView, type StoredAuth } from './auth.ts'
import { copiesViewer, worst } from './copies-view.ts'
import { appInstancePath, noReference, storageInstancePath, volumePath } from './locate.ts'
import { policyView } from './performance-policy.ts'
import { snapshotPoliciesOf } from './snapshot-policies.ts'

export const storageNodePath = (node: NodeContext) => `/storage_nodes/${node.identity.nodeUuid}`

/** Whole app instances with all that is nested in them; a few queries for a whole page. */
export function appInstanceViews(node: NodeContext, rows: readonly AppInstanceRow[]): AppInstance[] {
  const { database } = node
  const ids = JSON.stringify(rows.map(({ id }) => id))
  const instances = database.all<StorageInstanceRow>(
    `SELECT * FROM storage_instance WHERE state = 'ready'
     AND app_instance IN (SELECT value FROM json_each(?)) ORDER BY seq`,
    ids,
  )
  const appSnapshots = database.all<AppSnapshotRow>(
    `SELECT * FROM app_snapshot WHERE state = 'ready'
     AND app_instance IN (SELECT value FROM json_each(?)) ORDER BY seq`,
    ids,
  )
  const nested = storageInstanceViews(node, instances)
  const nestedByOwner = Map.groupBy(nested.keys(), (index) => instances[index]?.app_instance)
  const snapshotsByOwner = Map.groupBy(appSnapshots, (row) => row.app_instance)
  const policiesOf = snapshotPoliciesOf(node, rows.map(appInstancePath))
  return rows.map((row) => {
    const children = [...(nestedByOwner.get(row.id) ?? [])].flatMap((index) => nested[index] ?? [])
    const failed = children.filter((child) => child.op_state === 'failed')
    const path = appInstancePath(row)
    return {
      tenant: row.tenant,
      path,
      id: row.id,
      name: row.name,
      uuid: row.uuid,
      create_mode: row.create_mode,
      descr: row.descr,
      admin_state: row.admin_state,
      op_state: '',
      health: worst(children.map((child) => child.health)),
      causes: children.flatMap((child) => child.causes ?? []),
      deployment_state: failed.length > 0 ? 'degraded' : 'deployed',
      access_control_mode: row.access_control_mode,
      repair_priority: row.repair_priority,
      operation_path: '',
      restore_point: row.restore_point,
      restore_progress: '',
      remote_restore_percentage: 0,
      remote_restore_progress: '',
      app_template: row.app_template === null ? noReference : JSON.parse(row.app_template),
      snapshots: (snapshotsByOwner.get(row.id) ?? []).map((snapshot) => appSnapshotView(snapshot)),
      snapshot_policies: policiesOf(path),
      storage_instances: children,
    }
  })
}

export function appInstanceView(node: NodeContext, row: AppInstanceRow): AppInstance {
  const [view] = appInstanceViews(node, [row])
  if (view === undefined) throw new Error('one row has one view')
  return view
}

/** In the order of the rows. */
export function storageInstanceViews(
  node: NodeContext,
  rows: readonly StorageInstanceRow[],
): StorageInstance[] {
  const volumes = node.database.all<VolumeRow>(
    `SELECT * FROM volume WHERE state = 'ready'
     AND storage_instance IN (SELECT value FROM json_each(?)) ORDER BY seq`,
    JSON.stringify(rows.map(({ uuid }) => uuid)),
  )
  const owners = new Map(rows.map((row) => [row.uuid, row]))
  const aclOf = aclPaths(
    node,
    rows.map(({ uuid }) => uuid),
  )
  const views = volumeViews(node, volumes, (volume) => owners.get(volume.storage_instance))
  const byOwner = Map.groupBy(views.keys(), (index) => volumes[index]?.storage_instance)
  const pools = new Set(rows.map(({ ip_pool }) => ip_pool))
  const portalsByPool = new Map([...pools].map((pool) => [pool, portalsOfPool(node, JSON.parse(pool))]))
  const poolOf = readOnce<ResolvedReference>()
  const authOf = readOnce<StoredAuth>()
  return rows.map((row) => {
    const path = storageInstancePath(row.app_instance, row.name)
    const status = node.exports.status(row.uuid)
    const failed = status.state === 'failed'
    const portals = portalsByPool.get(row.ip_pool) ?? []
    const volumes = [...(byOwner.get(row.uuid) ?? [])].flatMap((index) => views[index] ?? [])
    const causes = volumes.flatMap((volume) =>
      (volume.causes ?? []).map((cause) => `${volume.name}: ${cause}`),
    )
    return {
      path,
      name: row.name,
      uuid: row.uuid,
      admin_state: row.admin_state,
      op_state: status.state,
      health: failed ? 'critical' : worst(volumes.map((volume) => volume.health)),
      causes: failed ? [status.cause, ...causes] : causes,
      deployment_state: failed ? 'failed' : 'deployed',
      service_configuration: row.service_configuration,
      access_control_mode: row.access_control_mode,
      acl_policy: { path: `${path}/acl_policy`, ...aclOf(row.uuid) },
      ip_pool: poolOf(row.ip_pool),
      access: {
        path: `${path}/access`,
        ips: portals.map(({ host }) => host),
        iqn: row.iqn,
        portals: portals.map(({ host, port }) => `${host}:${port}`),
      },
      auth: authView(authOf(row.auth), `${path}/auth`),
      active_initiators: [...node.exports.initiatorsOf(row.uuid)],
      active_storage_nodes: [{ path: storageNodePath(node) }],
      volumes,
    }
  })
}

/** In the order of the rows. */
export function volumeViews(
  node: NodeContext,
  rows: readonly VolumeRow[],
  ownerOf: (row: VolumeRow) => Pick<StorageInstanceRow, 'app_instance' | 'name'> | undefined,
): Volume[] {
  const snapshots = node.database.all<SnapshotRow>(
    `SELECT * FROM snapshot WHERE state = 'ready' AND app_snapshot IS NULL
     AND volume IN (SELECT value FROM json_each(?)) ORDER BY seq`,
    JSON.stringify(rows.map(({ store_id }) => store_id)),
  )
  const byVolume = Map.groupBy(snapshots, (row) => row.volume)
  const paths = rows.map((row) => {
    const owner = ownerOf(row)
    if (owner === undefined) throw new Error(`the volume ${row.store_id} has no storage instance`)
    return volumePath(owner.app_instance, owner.name, row.name)
  })
  const policiesOf = snapshotPoliciesOf(node, paths)
  const copiesOf = copiesViewer(node)
  const placementOf = readOnce<ResolvedReference>()
  const hasPolicies = productHas(node.productVersion, 'placementPolicy')
  return rows.map((row, index) => {
    const path = paths[index] ?? ''
    const usedBytes = node.usage.of(row.store_id)
    const placement = placementOf(row.placement_policy)
    return {
      path,
      name: row.name,
      uuid: row.uuid,
      size: row.size_gib,
      capacity_in_use: roundGib(usedBytes),
      replica_count: row.replica_count,
      placement_mode: row.placement_mode,
      // A product that has no policies shows none: Go SDKs of its time take them for strings.
      ...(hasPolicies && { placement_policy: placement }),
      ...copiesOf(row),
      deployment_state: 'deployed',
      restore_point: row.restore_point,
      effective_size: usedBytes,
      exclusive_size: usedBytes,
      logical_size: row.size_gib * gib,
      physical_size: usedBytes,
      ...(row.performance_policy !== null && {
        performance_policy: policyView(row.performance_policy, path),
      }),
      snapshot_policies: policiesOf(path),
      snapshots: (byVolume.get(row.store_id) ?? []).map((snapshot) => snapshotView(snapshot, path)),
      active_storage_nodes: [{ path: storageNodePath(node) }],
    }
  })
}

/** Reads JSON from columns that are alike in most rows: the same text once. What it returns is not to be changed. */
function readOnce<Value>(): (text: string) => Value {
  const read = new Map<string, Value>()
  return (text) => {
    const known = read.get(text)
    if (known !== undefined) return known
    const value: Value = JSON.parse(text)
    read.set(text, value)
    return value
  }
}

export function snapshotView(row: SnapshotRow, owner: string): Snapshot {
  return snapshotOf(row, owner, row.size_gib * gib)
}

export function appSnapshotView(row: AppSnapshotRow): Snapshot {
  const structure: { size_gib?: number } = JSON.parse(row.structure)
  return {
    ...snapshotOf(row, `/app_instances/${row.app_instance}`, (structure.size_gib ?? 0) * gib),
    app_structure: structure,
  }
}

function snapshotOf(
  row: Pick<SnapshotRow, 'uuid' | 'utc_ts'>,
  owner: string,
  logicalBytes: number,
): Snapshot {
  return {
    path: `${owner}/snapshots/${row.utc_ts}`,
    uuid: row.uuid,
    utc_ts: row.utc_ts,
    timestamp: row.utc_ts,
    op_state: 'available',
    local: true,
    remote_providers: [],
    physical_size: 0,
    logical_size: logicalBytes,
    exclusive_size: 0,
    effective_size: 0,
    ts_version: '1',
    version: '',
  }
}

/** GiB with two digits; an integer whenever it is one. */
function roundGib(bytes: number): number {
  return Math.round((bytes / gib) * 100) / 100
}
