import type { AppTemplate, StorageTemplate, VolumeTemplate } from '../../schemas/app-template.ts'
import type { ResolvedReference } from '../../schemas/common.ts'
import type { CreateSnapshotPolicy, SnapshotPolicy } from '../../schemas/snapshot-policy.ts'
import { productHas, type VersionTraits } from '../../versions.ts'
import type { NodeContext } from '../context.ts'
import type { DocumentRow } from '../database/rows.ts'
import { authView, noAuth } from './auth.ts'
import { type Collection, documentPath, findDocument } from './documents.ts'
import { nameOf } from './locate.ts'
import type { StoredStorageTemplate, StoredTemplate, StoredVolumeTemplate } from './templates.ts'

/** An app template as clients see it, with the instances that were made of it. */
export function appTemplateView(
  node: Pick<NodeContext, 'database' | 'productVersion'>,
  row: DocumentRow,
  traits: Pick<VersionTraits, 'templateIpPool'>,
): AppTemplate {
  const template: StoredTemplate = JSON.parse(row.content)
  const path = documentPath('app_templates', row.name)
  const bound = node.database.all<{ id: string }>(
    `SELECT id FROM app_instance WHERE state = 'ready' AND app_template ->> 'resolved_path' = ?
     AND app_template ->> 'resolved_tenant' = ? ORDER BY seq`,
    path,
    row.tenant,
  )
  const hasPolicies = productHas(node.productVersion, 'placementPolicy')
  const resolve: Resolve = (collection, reference) => {
    const found = findDocument(node, collection, row.tenant, nameOf(reference))
    return {
      path: reference,
      resolved_path: found ? documentPath(collection, found.name) : '',
      resolved_tenant: found?.tenant ?? '',
    }
  }
  return {
    tenant: row.tenant,
    path,
    name: row.name,
    descr: template.descr,
    app_instances: bound.map(({ id }) => ({ path: `/app_instances/${id}` })),
    snapshot_policies: policyViews(path, template.snapshot_policies),
    storage_templates: template.storage_templates.map((item) =>
      storageView(path, item, { ...traits, hasPolicies }, resolve),
    ),
  }
}

interface TemplateTraits extends Pick<VersionTraits, 'templateIpPool'> {
  readonly hasPolicies: boolean
}

type Resolve = (collection: Collection, reference: string) => ResolvedReference

function storageView(
  owner: string,
  item: StoredStorageTemplate,
  traits: TemplateTraits,
  resolve: Resolve,
): StorageTemplate {
  const path = `${owner}/storage_templates/${item.name}`
  return {
    path,
    name: item.name,
    auth: authView(item.auth ?? noAuth, `${path}/auth`),
    ip_pool:
      traits.templateIpPool === 'string' ? item.ip_pool : resolve('access_network_ip_pools', item.ip_pool),
    service_configuration: item.service_configuration,
    volume_templates: item.volume_templates.map((volume) => volumeView(path, volume, traits, resolve)),
  }
}

function volumeView(
  owner: string,
  item: StoredVolumeTemplate,
  traits: TemplateTraits,
  resolve: Resolve,
): VolumeTemplate {
  const path = `${owner}/volume_templates/${item.name}`
  return {
    path,
    name: item.name,
    size: item.size,
    replica_count: item.replica_count,
    placement_mode: item.placement_mode,
    ...(traits.hasPolicies && { placement_policy: resolve('placement_policies', item.placement_policy) }),
    ...(item.performance_policy && {
      performance_policy: { path: `${path}/performance_policy`, ...item.performance_policy },
    }),
    snapshot_policies: policyViews(path, item.snapshot_policies),
  }
}

export function policyViews(owner: string, policies: readonly CreateSnapshotPolicy[]): SnapshotPolicy[] {
  return policies.map((policy) => ({
    path: `${owner}/snapshot_policies/${policy.name}`,
    name: policy.name,
    interval: policy.interval,
    retention_count: policy.retention_count,
    start_time: policy.start_time || '1970-01-01T00:00:00+00:00',
  }))
}
