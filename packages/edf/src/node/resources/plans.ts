import { randomUUID } from 'node:crypto'
import type { AppInstance, CreateAppInstance } from '../../schemas/app-instance.ts'
import type { CreateSnapshotPolicy } from '../../schemas/snapshot-policy.ts'
import type { CreateStorageInstance } from '../../schemas/storage-instance.ts'
import type { CreateVolume } from '../../schemas/volume.ts'
import type { NodeContext } from '../context.ts'
import { conflict, validationFailed } from '../errors.ts'
import { resolveAcl } from './acl-policy.ts'
import { mergeAuth, noAuth } from './auth.ts'
import { resolveDocument } from './documents.ts'
import { inlinePolicy } from './performance-policy.ts'
import type { AppInstancePlan, StorageInstancePlan, VolumePlan } from './provision.ts'

const nilUuid = '00000000-0000-0000-0000-000000000000'
const maximumGib = 262_144

/** Children as clients write them: an array, or (v2) an object keyed by name. */
export function childrenOf<Item>(children: readonly Item[] | Record<string, Item> | undefined): Item[] {
  if (children === undefined) return []
  return Array.isArray(children) ? [...children] : Object.values(children)
}

/** Whole GiB, rounded up. @throws ApiError 422 */
export function wholeGib(size: number): number {
  const gib = Math.ceil(size)
  if (gib < 1 || gib > maximumGib) throw validationFailed(`size has to be 1 to ${maximumGib} GiB`)
  return gib
}

/** What a volume is to be, from what a client asked. @throws ApiError 404 for an unknown placement policy */
export function planVolume(
  node: NodeContext,
  tenant: string,
  input: Omit<CreateVolume, 'snapshot_policies'> & {
    snapshot_policies?: CreateVolume['snapshot_policies'] | undefined
  },
  source?: string,
): VolumePlan {
  const placement = resolveDocument(node, 'placement_policies', tenant, input.placement_policy, 'default')
  return {
    name: input.name,
    uuid: input.uuid?.toLowerCase() ?? randomUUID(),
    sizeGib: wholeGib(input.size),
    replicaCount: input.replica_count ?? 3,
    placementMode: input.placement_mode ?? 'hybrid',
    placementPolicy: placement,
    performancePolicy: inlinePolicy(input.performance_policy),
    snapshotPolicies: childrenOf(input.snapshot_policies),
    ...(source !== undefined && { source }),
  }
}

export function planStorageInstance(
  node: NodeContext,
  tenant: string,
  input: CreateStorageInstance,
  accessControlMode: 'allow_all' | 'deny_all' = 'deny_all',
): StorageInstancePlan {
  const volumes = childrenOf(input.volumes)
  refuseTwins('volume', volumes)
  return {
    name: input.name,
    adminState: input.admin_state ?? 'online',
    accessControlMode: input.access_control_mode ?? accessControlMode,
    auth: mergeAuth(noAuth, input.auth),
    ipPool: resolveDocument(node, 'access_network_ip_pools', tenant, input.ip_pool, 'default'),
    serviceConfiguration: input.service_configuration ?? 'iscsi',
    acl: resolveAcl(node, tenant, input.acl_policy),
    volumes: volumes.map((volume) => planVolume(node, tenant, volume)),
  }
}

/** What all ways of creating an app instance share. */
export function planAppInstance(
  tenant: string,
  input: CreateAppInstance,
  storageInstances: readonly StorageInstancePlan[],
  snapshotPolicies: readonly CreateSnapshotPolicy[] = childrenOf(input.snapshot_policies),
): AppInstancePlan {
  const uuid = input.uuid?.toLowerCase() ?? nilUuid
  return {
    tenant,
    name: input.name,
    descr: input.descr ?? '',
    createMode: input.create_mode ?? 'normal',
    uuid,
    adminState: input.admin_state ?? 'online',
    accessControlMode: input.access_control_mode ?? '',
    repairPriority: input.repair_priority ?? 'default',
    snapshotPolicies,
    storageInstances:
      input.create_mode === 'openstack' && uuid !== nilUuid
        ? withVolumeUuid(storageInstances, uuid)
        : storageInstances,
  }
}

/** In create mode openstack the first volume gets the uuid that was wished for the app instance. */
function withVolumeUuid(instances: readonly StorageInstancePlan[], uuid: string): StorageInstancePlan[] {
  let given = false
  return instances.map((instance) => ({
    ...instance,
    volumes: instance.volumes.map((volume) => {
      if (given) return volume
      given = true
      return { ...volume, uuid }
    }),
  }))
}

/** @throws ApiError 409 when two siblings have one name */
export function refuseTwins(kind: string, items: readonly { readonly name: string }[]): void {
  const names = new Set<string>()
  for (const { name } of items) {
    if (names.has(name)) throw conflict(`The ${kind} ${name} is named twice`)
    names.add(name)
  }
}

export type AppInstanceAnswer = { data: AppInstance; path: string; tenant: string }
