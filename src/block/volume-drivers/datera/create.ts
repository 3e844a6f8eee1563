import { type CreateAppInstance, tenantOf } from '@emberglass/edf'
import type { Created, NewVolume } from '../../volume-driver.ts'
import { applyPolicy } from './apply-policy.ts'
import { chooseIpPool } from './ip-pools.ts'
import { appInstanceName } from './naming.ts'
import type { Operation } from './operation.ts'
import { pathIn, placementOf } from './placement.ts'
import { type Policy, volumePolicy } from './policies.ts'
import { provision, sizeInGib } from './provision.ts'
import { isLimited, limitsFor } from './quality-of-service.ts'
import { readTemplate } from './templates.ts'

/** Makes a blank volume. */
export async function createVolume(operation: Operation, volume: NewVolume): Promise<Created> {
  const sizeGib = sizeInGib(volume.sizeBytes)
  const policy = volumePolicy(operation.checked.policy, volume.type, (message) => operation.log.warn(message))
  const tenant = tenantOf(operation.checked.tenant, volume.projectId)
  await operation.array.tenants.ensure(tenant, operation.edf)
  const body =
    policy.template === ''
      ? plainBody(operation, volume, policy, sizeGib)
      : await templateBody(operation, tenant, volume, policy, sizeGib)
  return await provision(operation, tenant, volume, body, (scope, appInstance) =>
    applyPolicy(operation, scope, appInstance, policy, sizeGib, {
      volumeId: volume.id,
      keepPlacement: policy.template !== '',
    }),
  )
}

function plainBody(
  operation: Operation,
  volume: NewVolume,
  policy: Policy,
  sizeGib: number,
): CreateAppInstance {
  const limits = limitsFor(policy, sizeGib)
  return {
    create_mode: 'openstack',
    uuid: volume.id,
    name: appInstanceName(volume.id, volume.displayName ?? volume.name),
    access_control_mode: 'deny_all',
    storage_instances: [
      {
        name: 'storage-1',
        ip_pool: { path: pathIn('/access_network_ip_pools', chooseIpPool(policy.ip_pool, volume.id)) },
        volumes: [
          {
            name: 'volume-1',
            size: sizeGib,
            replica_count: policy.replica_count,
            snapshot_policies: [],
            ...placementOf(operation, policy),
            ...(isLimited(limits) ? { performance_policy: limits } : {}),
          },
        ],
      },
    ],
  }
}

async function templateBody(
  operation: Operation,
  tenant: string | undefined,
  volume: NewVolume,
  policy: Policy,
  sizeGib: number,
): Promise<CreateAppInstance> {
  const template = await readTemplate(operation, tenant, policy.template, sizeGib)
  return {
    create_mode: 'openstack',
    name: appInstanceName(volume.id, volume.displayName ?? volume.name),
    app_template: { path: template.path },
    ...(template.override === undefined ? {} : { template_override: template.override }),
  }
}
