import { randomBytes, randomUUID } from 'node:crypto'
import type { ResolvedReference } from '../../schemas/common.ts'
import type { CreateSnapshotPolicy } from '../../schemas/snapshot-policy.ts'
import type { NodeContext } from '../context.ts'
import { isUniqueViolation } from '../database/database.ts'
import { ApiError, conflict } from '../errors.ts'
import { gib } from '../units.ts'
import { type ResolvedAcl, storeAcl } from './acl-policy.ts'
import type { StoredAuth } from './auth.ts'
import { storageInstancePath, volumePath } from './locate.ts'
import type { StoredPolicy } from './performance-policy.ts'
import { deleteSnapshotPolicies, insertSnapshotPolicy } from './snapshot-policies.ts'

/** A volume to be made; all references resolved, all defaults filled in. */
export interface VolumePlan {
  readonly name: string
  readonly uuid: string
  readonly sizeGib: number
  readonly replicaCount: number
  readonly placementMode: string
  readonly placementPolicy: ResolvedReference
  readonly performancePolicy?: StoredPolicy | undefined
  readonly snapshotPolicies: readonly CreateSnapshotPolicy[]
  /** Volume or snapshot in the store to start as a copy of. */
  readonly source?: string
}

export interface StorageInstancePlan {
  readonly name: string
  readonly adminState: 'online' | 'offline'
  readonly accessControlMode: 'allow_all' | 'deny_all'
  readonly auth: StoredAuth
  readonly ipPool: ResolvedReference
  readonly serviceConfiguration: string
  readonly acl: ResolvedAcl
  readonly volumes: readonly VolumePlan[]
}

export interface AppInstancePlan {
  readonly tenant: string
  readonly name: string
  readonly descr: string
  readonly createMode: string
  /** Nil when none was wished for. */
  readonly uuid: string
  readonly adminState: 'online' | 'offline'
  readonly accessControlMode: string
  readonly appTemplate?: ResolvedReference
  readonly repairPriority: string
  readonly snapshotPolicies: readonly CreateSnapshotPolicy[]
  readonly storageInstances: readonly StorageInstancePlan[]
}

interface MadeVolume {
  readonly storeId: string
  readonly plan: VolumePlan
}

/**
 * Makes an app instance with all that is nested in it, or nothing. First the rows, as `creating`; then the store;
 * then the rows become `ready` in one transaction; then the targets. A process that dies in between leaves rows that
 * the next start removes, with what the store has of them.
 * @returns id of the new app instance
 * @throws ApiError 409 when a name or uuid is taken
 */
export async function provisionAppInstance(node: NodeContext, plan: AppInstancePlan): Promise<string> {
  const { database } = node
  const id = randomUUID()
  const made: MadeVolume[] = []
  const instances: string[] = []
  // A name may belong to something that is still to be removed.
  await node.unfinished.retry()
  database.transaction(() => {
    unique(`An app instance named ${plan.name} exists in ${plan.tenant}`, () =>
      database.run(
        `INSERT INTO app_instance (id, tenant, name, state, descr, create_mode, uuid, admin_state,
           access_control_mode, app_template, repair_priority)
         VALUES (?, ?, ?, 'creating', ?, ?, ?, ?, ?, ?, ?)`,
        id,
        plan.tenant,
        plan.name,
        plan.descr,
        plan.createMode,
        plan.uuid,
        plan.adminState,
        plan.accessControlMode,
        plan.appTemplate ? JSON.stringify(plan.appTemplate) : null,
        plan.repairPriority,
      ),
    )
    for (const policy of plan.snapshotPolicies) insertSnapshotPolicy(node, `/app_instances/${id}`, policy)
    for (const instance of plan.storageInstances) {
      const uuid = insertStorageInstance(node, id, instance)
      instances.push(uuid)
      made.push(...insertVolumes(node, { aiId: id, siUuid: uuid, siName: instance.name }, instance.volumes))
    }
  })
  await fill(node, made, {
    ready: () => {
      for (const uuid of instances) markReady(node, uuid)
      database.run(`UPDATE app_instance SET state = 'ready' WHERE id = ?`, id)
    },
    undo: () => removeAppInstanceRows(node, id),
  })
  for (const uuid of instances) await node.exports.sync(uuid)
  return id
}

/** Adds a storage instance to an app instance, whole or not at all. @throws ApiError 409 */
export async function provisionStorageInstance(
  node: NodeContext,
  aiId: string,
  plan: StorageInstancePlan,
): Promise<void> {
  let uuid = ''
  const made: MadeVolume[] = []
  node.database.transaction(() => {
    uuid = insertStorageInstance(node, aiId, plan)
    made.push(...insertVolumes(node, { aiId, siUuid: uuid, siName: plan.name }, plan.volumes))
  })
  await fill(node, made, {
    ready: () => markReady(node, uuid),
    undo: () => removeStorageInstanceRows(node, uuid, storageInstancePath(aiId, plan.name)),
  })
  await node.exports.sync(uuid)
}

/** Adds a volume to a storage instance; an online one shows it as a new unit. @throws ApiError 409 */
export async function provisionVolume(
  node: NodeContext,
  owner: { readonly aiId: string; readonly siUuid: string; readonly siName: string },
  plan: VolumePlan,
): Promise<void> {
  const made = node.database.transaction(() => insertVolumes(node, owner, [plan]))
  await fill(node, made, {
    ready: () => {
      for (const { storeId } of made) {
        node.database.run(`UPDATE volume SET state = 'ready' WHERE store_id = ?`, storeId)
      }
    },
    undo: () => {
      for (const { storeId } of made) {
        removeVolumeRows(node, storeId, volumePath(owner.aiId, owner.siName, plan.name))
      }
    },
  })
  await node.exports.sync(owner.siUuid)
}

function insertStorageInstance(node: NodeContext, aiId: string, plan: StorageInstancePlan): string {
  const uuid = randomUUID()
  unique(`The storage instance ${plan.name} exists`, () =>
    node.database.run(
      `INSERT INTO storage_instance (uuid, app_instance, name, state, admin_state, iqn, access_control_mode, auth,
         ip_pool, service_configuration)
       VALUES (?, ?, ?, 'creating', ?, ?, ?, ?, ?, ?)`,
      uuid,
      aiId,
      plan.name,
      plan.adminState,
      `iqn.2013-05.com.daterainc:tc:01:sn:${randomBytes(8).toString('hex')}`,
      plan.accessControlMode,
      JSON.stringify(plan.auth),
      JSON.stringify(plan.ipPool),
      plan.serviceConfiguration,
    ),
  )
  storeAcl(node, uuid, plan.acl)
  return uuid
}

/** Units are numbered in order of creation; a number is not given twice. */
function insertVolumes(
  node: NodeContext,
  owner: { readonly aiId: string; readonly siUuid: string; readonly siName: string },
  plans: readonly VolumePlan[],
): MadeVolume[] {
  const { database } = node
  return plans.map((plan) => {
    const storeId = randomUUID()
    unique(`The volume ${plan.name}, or a volume with the uuid ${plan.uuid}, exists`, () =>
      database.run(
        `INSERT INTO volume (store_id, storage_instance, name, state, uuid, lun, size_gib, replica_count,
           placement_mode, placement_policy, performance_policy)
         SELECT ?, uuid, ?, 'creating', ?, next_lun, ?, ?, ?, ?, ? FROM storage_instance WHERE uuid = ?`,
        storeId,
        plan.name,
        plan.uuid,
        plan.sizeGib,
        plan.replicaCount,
        plan.placementMode,
        JSON.stringify(plan.placementPolicy),
        plan.performancePolicy ? JSON.stringify(plan.performancePolicy) : null,
        owner.siUuid,
      ),
    )
    database.run('UPDATE storage_instance SET next_lun = next_lun + 1 WHERE uuid = ?', owner.siUuid)
    const path = volumePath(owner.aiId, owner.siName, plan.name)
    for (const policy of plan.snapshotPolicies) insertSnapshotPolicy(node, path, policy)
    return { storeId, plan }
  })
}

/** Makes the data of volumes, and then their rows `ready`; when that fails, removes what it made, and the rows by `undo`. */
async function fill(
  node: NodeContext,
  volumes: readonly MadeVolume[],
  rows: { readonly ready: () => void; readonly undo: () => void },
): Promise<void> {
  try {
    for (const { storeId, plan } of volumes) {
      if (plan.source === undefined) await node.store.create(storeId, plan.sizeGib * gib)
      else await node.store.clone(plan.source, storeId, plan.sizeGib * gib)
    }
    node.database.transaction(rows.ready)
  } catch (error) {
    const remove = async () => {
      for (const { storeId } of volumes) await node.store.delete(storeId)
      node.database.transaction(rows.undo)
    }
    // What cannot be removed now is removed later; the reason is this one.
    await node.unfinished.run(remove).catch(() => undefined)
    throw error
  }
}

function markReady(node: NodeContext, siUuid: string): void {
  node.database.run(`UPDATE volume SET state = 'ready' WHERE storage_instance = ?`, siUuid)
  node.database.run(`UPDATE storage_instance SET state = 'ready' WHERE uuid = ?`, siUuid)
}

/** The rows of an app instance and all below it; what the store has must be gone before. */
export function removeAppInstanceRows(node: Pick<NodeContext, 'database'>, id: string): void {
  const { database } = node
  const instances = `(SELECT uuid FROM storage_instance WHERE app_instance = ?)`
  const volumes = `(SELECT store_id FROM volume WHERE storage_instance IN ${instances})`
  database.run(`DELETE FROM snapshot WHERE volume IN ${volumes}`, id)
  database.run('DELETE FROM app_snapshot WHERE app_instance = ?', id)
  database.run(`DELETE FROM volume WHERE storage_instance IN ${instances}`, id)
  database.run('DELETE FROM storage_instance WHERE app_instance = ?', id)
  database.run('DELETE FROM app_instance WHERE id = ?', id)
  deleteSnapshotPolicies(node, `/app_instances/${id}`)
}

export function removeStorageInstanceRows(
  node: Pick<NodeContext, 'database'>,
  uuid: string,
  path: string,
): void {
  const { database } = node
  database.run(
    'DELETE FROM snapshot WHERE volume IN (SELECT store_id FROM volume WHERE storage_instance = ?)',
    uuid,
  )
  database.run('DELETE FROM volume WHERE storage_instance = ?', uuid)
  database.run('DELETE FROM storage_instance WHERE uuid = ?', uuid)
  deleteSnapshotPolicies(node, path)
}

export function removeVolumeRows(node: Pick<NodeContext, 'database'>, storeId: string, path: string): void {
  node.database.run('DELETE FROM snapshot WHERE volume = ?', storeId)
  node.database.run('DELETE FROM volume WHERE store_id = ?', storeId)
  deleteSnapshotPolicies(node, path)
}

function unique(message: string, insert: () => unknown): void {
  try {
    insert()
  } catch (error) {
    if (error instanceof ApiError || !isUniqueViolation(error)) throw error
    throw conflict(message)
  }
}
