import type { AppInstance } from '../schemas/app-instance.ts'
import type { Snapshot } from '../schemas/snapshot.ts'
import type { StorageInstance } from '../schemas/storage-instance.ts'
import type { Volume } from '../schemas/volume.ts'
import { absentIfNotFound } from './collection.ts'
import { EdfFailure, EdfInvalid, EdfNotFound, EdfUnavailable } from './errors.ts'
import type { EdfCall } from './exchange.ts'
import { containing } from './filter.ts'
import { pause } from './retry.ts'
import type { EdfScope, Located } from './scope.ts'

/** The one storage instance and the one volume that drivers make, found by position. */
export interface OnlyVolume {
  readonly storageInstance: StorageInstance
  readonly volume: Volume
}

/** @throws EdfNotFound when the app instance has no volume: half-made by somebody */
export function onlyVolume(appInstance: AppInstance): OnlyVolume {
  const storageInstance = appInstance.storage_instances[0]
  const volume = storageInstance?.volumes[0]
  if (storageInstance === undefined || volume === undefined) {
    throw new EdfNotFound(`app instance ${appInstance.name} has no volume`, { path: appInstance.path })
  }
  return { storageInstance, volume }
}

/**
 * App instances whose name contains a text, and that `isMeant` accepts. Uses the array's filter, or goes through all
 * when the array refuses it.
 */
export async function findAppInstances(
  scope: EdfScope,
  text: string,
  isMeant: (appInstance: AppInstance) => boolean,
  call: EdfCall,
): Promise<AppInstance[]> {
  let found: AppInstance[]
  try {
    found = await scope.appInstances.list({ filter: containing('name', text) }, call)
  } catch (error) {
    // An unknown tenant has no app instances.
    if (error instanceof EdfNotFound) return []
    if (!(error instanceof EdfInvalid)) throw error
    found = await scope.appInstances.list({}, call)
  }
  return found.filter(isMeant)
}

/** Shuts everybody out, takes the app instance offline and deletes it. Already gone at any step: fine. */
export async function removeAppInstance(
  scope: EdfScope,
  appInstance: AppInstance,
  call: EdfCall,
): Promise<void> {
  for (const storageInstance of appInstance.storage_instances) {
    if ((storageInstance.acl_policy?.initiators.length ?? 0) > 0) {
      await absentIfNotFound(scope.setAclPolicy(storageInstance, { initiators: [] }, call))
    }
  }
  const offline = { admin_state: 'offline', force: true } as const
  await absentIfNotFound(scope.appInstances.update(appInstance.path, offline, call))
  await absentIfNotFound(scope.appInstances.delete(appInstance.path, { force: true }, call))
}

/** The app instance, online. */
export async function bringOnline(
  scope: EdfScope,
  appInstance: AppInstance,
  call: EdfCall,
): Promise<AppInstance> {
  if (appInstance.admin_state === 'online') return appInstance
  return await scope.appInstances.update(appInstance.path, { admin_state: 'online' }, call)
}

/**
 * Takes the app instance offline when nobody is on any of its ACLs. Somebody who is admitted at the same moment
 * wins: the app instance is then online again when this resolves.
 * @param force also when sessions are alive; without it, a live session keeps the app instance online
 */
export async function takeOfflineIfUnused(
  scope: EdfScope,
  appInstance: Located,
  force: boolean,
  call: EdfCall,
): Promise<void> {
  const path = typeof appInstance === 'string' ? appInstance : appInstance.path
  const now = await absentIfNotFound(scope.appInstances.get(path, call))
  if (now === undefined || now.admin_state === 'offline' || isInUse(now)) return
  try {
    const change = { admin_state: 'offline' as const, ...(force ? { force: true } : {}) }
    const after = await scope.appInstances.update(path, change, call)
    if (isInUse(after)) await scope.appInstances.update(path, { admin_state: 'online' }, call)
  } catch (error) {
    if (error instanceof EdfNotFound) return
    if (!force && error instanceof EdfInvalid) return
    throw error
  }
}

/** Whether anybody is on an ACL. */
export function isInUse(appInstance: AppInstance): boolean {
  return appInstance.storage_instances.some(
    ({ acl_policy }) =>
      (acl_policy?.initiators.length ?? 0) > 0 || (acl_policy?.initiator_groups.length ?? 0) > 0,
  )
}

/**
 * Waits until a storage instance is exported. Checks at once, then with growing pauses.
 * @throws EdfFailure when it has failed; EdfUnavailable when it takes longer than `limitMs`
 */
export async function untilExported(
  scope: EdfScope,
  storageInstance: StorageInstance,
  limitMs: number,
  call: EdfCall,
): Promise<StorageInstance> {
  const collection = scope.storageInstances(storageInstance.path.replace(/\/storage_instances\/[^/]*$/, ''))
  return await until(storageInstance, () => collection.get(storageInstance.path, call), limitMs, call)
}

/** Waits until a snapshot is complete. As `untilExported`. */
export async function untilSnapshotReady(
  scope: EdfScope,
  volume: Located,
  snapshot: Snapshot,
  limitMs: number,
  call: EdfCall,
): Promise<Snapshot> {
  const collection = scope.snapshots(volume)
  return await until(snapshot, () => collection.get(snapshot.path, call), limitMs, call)
}

async function until<Entity extends { path: string; op_state: string; causes?: string[] }>(
  first: Entity,
  read: () => Promise<Entity>,
  limitMs: number,
  call: EdfCall,
): Promise<Entity> {
  const deadline = Date.now() + limitMs
  let entity = first
  let pauseMs = 100
  for (;;) {
    if (entity.op_state === 'available') return entity
    if (entity.op_state === 'failed') {
      const causes = entity.causes?.join('; ') ?? ''
      throw new EdfFailure(`${entity.path} has failed${causes === '' ? '' : `: ${causes}`}`, {
        path: entity.path,
      })
    }
    if (Date.now() + pauseMs > deadline) {
      const message = `${entity.path} is still '${entity.op_state}' after ${limitMs} ms`
      throw new EdfUnavailable(message, { path: entity.path, outcome: 'unknown' })
    }
    await pause(pauseMs, call.signal)
    pauseMs = Math.min(pauseMs * 2, 1000)
    entity = await read()
  }
}
