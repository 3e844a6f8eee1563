import type { ReferenceInput, ResolvedReference } from '../../schemas/common.ts'
import type { NodeContext } from '../context.ts'
import type {
  AppInstanceRow,
  AppSnapshotRow,
  SnapshotRow,
  StorageInstanceRow,
  VolumeRow,
} from '../database/rows.ts'
import { ApiError, notFound } from '../errors.ts'
import type { ApiRequest } from '../http/route.ts'
import { lineage } from './tenants.ts'

export const appInstancePath = (ai: Pick<AppInstanceRow, 'id'>) => `/app_instances/${ai.id}`
export const storageInstancePath = (aiId: string, siName: string) =>
  `/app_instances/${aiId}/storage_instances/${siName}`
export const volumePath = (aiId: string, siName: string, name: string) =>
  `${storageInstancePath(aiId, siName)}/volumes/${name}`

export interface LocatedStorageInstance {
  readonly ai: AppInstanceRow
  readonly si: StorageInstanceRow
}
export interface LocatedVolume extends LocatedStorageInstance {
  readonly volume: VolumeRow
}

/** By id, by name, or by the uuid that was wished for; in that order. Only of this tenant. */
export function findAppInstance(node: NodeContext, tenant: string, key: string): AppInstanceRow | undefined {
  const { database } = node
  const live = `tenant = ? AND state = 'ready'`
  return (
    database.get<AppInstanceRow>(`SELECT * FROM app_instance WHERE id = ? AND ${live}`, key, tenant) ??
    database.get<AppInstanceRow>(`SELECT * FROM app_instance WHERE name = ? AND ${live}`, key, tenant) ??
    database.get<AppInstanceRow>(`SELECT * FROM app_instance WHERE uuid = ? AND ${live}`, key, tenant)
  )
}

/** The app instance of a request's path. @throws ApiError 404 */
export function locateAppInstance(node: NodeContext, request: ApiRequest): AppInstanceRow {
  const key = request.param('ai')
  const ai = findAppInstance(node, request.tenant, key)
  if (ai === undefined) throw notFound(`/app_instances/${key}`)
  return ai
}

export function findStorageInstance(
  node: NodeContext,
  aiId: string,
  key: string,
): StorageInstanceRow | undefined {
  return node.database.get<StorageInstanceRow>(
    `SELECT * FROM storage_instance WHERE app_instance = ? AND state = 'ready' AND (name = ? OR uuid = ?)`,
    aiId,
    key,
    key,
  )
}

/** @throws ApiError 404 */
export function locateStorageInstance(node: NodeContext, request: ApiRequest): LocatedStorageInstance {
  const ai = locateAppInstance(node, request)
  const si = findStorageInstance(node, ai.id, request.param('si'))
  if (si === undefined) throw notFound(storageInstancePath(ai.id, request.param('si')))
  return { ai, si }
}

export function findVolume(node: NodeContext, siUuid: string, key: string): VolumeRow | undefined {
  return node.database.get<VolumeRow>(
    `SELECT * FROM volume WHERE storage_instance = ? AND state = 'ready' AND (name = ? OR uuid = ?)`,
    siUuid,
    key,
    key,
  )
}

/** @throws ApiError 404 */
export function locateVolume(node: NodeContext, request: ApiRequest): LocatedVolume {
  const { ai, si } = locateStorageInstance(node, request)
  const volume = findVolume(node, si.uuid, request.param('vol'))
  if (volume === undefined) throw notFound(volumePath(ai.id, si.name, request.param('vol')))
  return { ai, si, volume }
}

/** A snapshot on volume level, by `utc_ts` or uuid. */
export function findSnapshot(node: NodeContext, volume: VolumeRow, key: string): SnapshotRow | undefined {
  return node.database.get<SnapshotRow>(
    `SELECT * FROM snapshot WHERE volume = ? AND app_snapshot IS NULL AND state = 'ready'
     AND (utc_ts = ? OR uuid = ?)`,
    volume.store_id,
    key,
    key.toLowerCase(),
  )
}

/** A snapshot on app instance level, by `utc_ts` or uuid. */
export function findAppSnapshot(node: NodeContext, aiId: string, key: string): AppSnapshotRow | undefined {
  return node.database.get<AppSnapshotRow>(
    `SELECT * FROM app_snapshot WHERE app_instance = ? AND state = 'ready' AND (utc_ts = ? OR uuid = ?)`,
    aiId,
    key,
    key.toLowerCase(),
  )
}

/** The path that a client wrote as string, `{path}` or Go's `{Path}`; empty when it gave none. */
export function pathOf(reference: ReferenceInput | undefined): string {
  if (reference === undefined) return ''
  if (typeof reference === 'string') return reference.trim()
  return (reference.path ?? reference.Path ?? '').trim()
}

/** Segments of a reference, without version prefix and empty ones. */
export function segmentsOf(path: string): string[] {
  const segments = path.split('/').filter((segment) => segment !== '')
  if (/^v\d(\.\d)?$/.test(segments[0] ?? '')) segments.shift()
  return segments.map((segment) => {
    try {
      return decodeURIComponent(segment)
    } catch {
      return segment
    }
  })
}

/** What a reference below `/app_instances` leads to; the parts that its path names. */
export interface Located {
  readonly ai: AppInstanceRow
  readonly si?: StorageInstanceRow
  readonly volume?: VolumeRow
  readonly snapshot?: SnapshotRow
  readonly appSnapshot?: AppSnapshotRow
}

/**
 * Follows a path to an app instance, storage instance, volume or snapshot, by ids or names, from the request's tenant
 * upward.
 * @throws ApiError 404
 */
export function locate(node: NodeContext, tenant: string, path: string): Located {
  const [root, aiKey = '', second, siKey = '', third, volumeKey = '', fourth, snapshotKey = ''] =
    segmentsOf(path)
  const missing = () => notFound(path)
  if (root !== 'app_instances') throw missing()
  let ai: AppInstanceRow | undefined
  for (const candidate of lineage(tenant)) {
    ai = findAppInstance(node, candidate, aiKey)
    if (ai !== undefined) break
  }
  if (ai === undefined) throw missing()
  if (second === undefined) return { ai }
  if (second === 'snapshots') {
    const appSnapshot = findAppSnapshot(node, ai.id, siKey)
    if (appSnapshot === undefined || third !== undefined) throw missing()
    return { ai, appSnapshot }
  }
  const si = second === 'storage_instances' ? findStorageInstance(node, ai.id, siKey) : undefined
  if (si === undefined) throw missing()
  if (third === undefined) return { ai, si }
  const volume = third === 'volumes' ? findVolume(node, si.uuid, volumeKey) : undefined
  if (volume === undefined) throw missing()
  if (fourth === undefined) return { ai, si, volume }
  const snapshot = fourth === 'snapshots' ? findSnapshot(node, volume, snapshotKey) : undefined
  if (snapshot === undefined) throw missing()
  return { ai, si, volume, snapshot }
}

/** What a path made of ids and names leads to, in whichever tenant it is; undefined when it has gone. */
export function locateById(node: NodeContext, path: string): Located | undefined {
  const aiKey = segmentsOf(path)[1] ?? ''
  const row = node.database.get<{ tenant: string }>('SELECT tenant FROM app_instance WHERE id = ?', aiKey)
  if (row === undefined) return undefined
  try {
    return locate(node, row.tenant, path)
  } catch (error) {
    if (error instanceof ApiError && error.http === 404) return undefined
    throw error
  }
}

/** Three empty strings: a reference that leads nowhere. */
export const noReference: ResolvedReference = { path: '', resolved_path: '', resolved_tenant: '' }

/** The last segment of a reference to an object of a flat collection. */
export function nameOf(path: string): string {
  return segmentsOf(path).at(-1) ?? ''
}
