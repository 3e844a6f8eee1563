import type { CreateAppInstance, TemplateOverride } from '../../schemas/app-instance.ts'
import { CreateAppInstance as CreateAppInstanceSchema } from '../../schemas/app-instance.ts'
import type { StorageInstanceOverride } from '../../schemas/storage-instance.ts'
import type { VolumeOverride } from '../../schemas/volume.ts'
import type { NodeContext } from '../context.ts'
import type { SnapshotRow, StorageInstanceRow, VolumeRow } from '../database/rows.ts'
import { invalidRequest } from '../errors.ts'
import type { ApiRequest } from '../http/route.ts'
import { mergeAuth, noAuth } from './auth.ts'
import { requireDocument, resolveDocument } from './documents.ts'
import { type Located, locate, nameOf, pathOf } from './locate.ts'
import {
  childrenOf,
  planAppInstance,
  planStorageInstance,
  planVolume,
  refuseTwins,
  wholeGib,
} from './plans.ts'
import {
  type AppInstancePlan,
  provisionAppInstance,
  type StorageInstancePlan,
  type VolumePlan,
} from './provision.ts'
import type { StoredTemplate } from './templates.ts'

/** Makes an app instance: from its parts, from a template, or as a clone. @returns its id */
export async function createAppInstance(node: NodeContext, request: ApiRequest): Promise<string> {
  const input = request.body(CreateAppInstanceSchema)
  const { tenant } = request
  const source = pathOf(input.clone_volume_src) || pathOf(input.clone_snapshot_src) || pathOf(input.clone_src)
  if (source !== '') {
    const { ai } = locate(node, tenant, source)
    // The source must not go away under the copy.
    return node.locks.run(ai.id, () => {
      const plan = planClone(node, tenant, input, locate(node, tenant, source))
      return provisionAppInstance(node, plan)
    })
  }
  if (pathOf(input.app_template) !== '') {
    return provisionAppInstance(node, planFromTemplate(node, tenant, input))
  }
  const instances = childrenOf(input.storage_instances)
  refuseTwins('storage instance', instances)
  const plans = instances.map((item) => planStorageInstance(node, tenant, item, input.access_control_mode))
  return provisionAppInstance(node, planAppInstance(tenant, input, plans))
}

function planFromTemplate(node: NodeContext, tenant: string, input: CreateAppInstance): AppInstancePlan {
  const reference = resolveDocument(node, 'app_templates', tenant, input.app_template, '')
  const document = requireDocument(
    node,
    'app_templates',
    reference.resolved_tenant,
    nameOf(reference.resolved_path),
  )
  const template: StoredTemplate = JSON.parse(document.content)
  const overrides: TemplateOverride = input.template_override ?? {}
  const plans = template.storage_templates.map((item): StorageInstancePlan => {
    const override: StorageInstanceOverride = overrides.storage_instances?.[item.name] ?? {}
    return {
      name: item.name,
      adminState: 'online',
      accessControlMode: override.access_control_mode ?? input.access_control_mode ?? 'deny_all',
      auth: mergeAuth(item.auth ?? noAuth, override.auth),
      ipPool: resolveDocument(
        node,
        'access_network_ip_pools',
        tenant,
        pathOf(override.ip_pool) || item.ip_pool,
        'default',
      ),
      serviceConfiguration: item.service_configuration,
      acl: {},
      volumes: item.volume_templates.map((volume) => {
        const leaf: VolumeOverride = override.volumes?.[volume.name] ?? {}
        return planVolume(node, tenant, { ...volume, ...withoutUndefined(leaf) })
      }),
    }
  })
  const policies = [...childrenOf(input.snapshot_policies), ...template.snapshot_policies]
  return { ...planAppInstance(tenant, input, plans, policies), appTemplate: reference }
}

/** Overrides that were left out must not hide what the template says. */
function withoutUndefined(leaf: VolumeOverride): VolumeOverride {
  return Object.fromEntries(Object.entries(leaf).filter(([, value]) => value !== undefined))
}

function planClone(
  node: NodeContext,
  tenant: string,
  input: CreateAppInstance,
  source: Located,
): AppInstancePlan {
  const { database } = node
  if (source.volume !== undefined && source.si !== undefined) {
    const volume = cloneVolume(source.volume, source.snapshot)
    return planAppInstance(tenant, input, [cloneStorageInstance(source.si, [volume])])
  }
  if (source.si !== undefined) {
    throw invalidRequest('A clone starts from an app instance, a volume or a snapshot')
  }
  const snapshots =
    source.appSnapshot &&
    new Map(
      database
        .all<SnapshotRow>('SELECT * FROM snapshot WHERE app_snapshot = ?', source.appSnapshot.id)
        .map((row) => [row.volume, row]),
    )
  const instances = database.all<StorageInstanceRow>(
    `SELECT * FROM storage_instance WHERE app_instance = ? AND state = 'ready' ORDER BY seq`,
    source.ai.id,
  )
  const plans = instances.map((instance) => {
    const volumes = database
      .all<VolumeRow>(
        `SELECT * FROM volume WHERE storage_instance = ? AND state = 'ready' ORDER BY seq`,
        instance.uuid,
      )
      // A volume that is younger than the snapshot is not in it.
      .filter((row) => snapshots === undefined || snapshots.has(row.store_id))
      .map((row) => cloneVolume(row, snapshots?.get(row.store_id)))
    return cloneStorageInstance(instance, volumes)
  })
  return planAppInstance(tenant, input, plans)
}

/** Size, replicas, placement and limits are inherited; snapshots and their policies are not. */
function cloneVolume(row: VolumeRow, snapshot: SnapshotRow | undefined): VolumePlan {
  return {
    name: row.name,
    uuid: crypto.randomUUID(),
    sizeGib: wholeGib(snapshot?.size_gib ?? row.size_gib),
    replicaCount: row.replica_count,
    placementMode: row.placement_mode,
    placementPolicy: JSON.parse(row.placement_policy),
    performancePolicy: row.performance_policy === null ? undefined : JSON.parse(row.performance_policy),
    snapshotPolicies: [],
    source: snapshot?.store_id ?? row.store_id,
  }
}

/** Address pool, access mode and credentials are inherited; the access list is not. */
function cloneStorageInstance(row: StorageInstanceRow, volumes: readonly VolumePlan[]): StorageInstancePlan {
  return {
    name: row.name,
    adminState: 'online',
    accessControlMode: row.access_control_mode,
    auth: JSON.parse(row.auth),
    ipPool: JSON.parse(row.ip_pool),
    serviceConfiguration: row.service_configuration,
    acl: {},
    volumes,
  }
}
