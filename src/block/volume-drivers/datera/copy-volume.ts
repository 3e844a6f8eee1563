import { type CreateAppInstance, EdfInvalid, onlyVolume, tenantOf } from '@emberglass/edf'
import { Invalid, Unsupported } from '../../../kernel/errors.ts'
import type { BackendVolume, Created, NewVolume } from '../../volume-driver.ts'
import { applyPolicy } from './apply-policy.ts'
import { type Found, requireVolume } from './lookup.ts'
import { appInstanceName } from './naming.ts'
import type { Operation } from './operation.ts'
import { volumePolicy } from './policies.ts'
import { provision, sizeInGib } from './provision.ts'

/** A volume with the bytes that another one has now. The source may be in use. */
export async function cloneVolume(
  operation: Operation,
  source: BackendVolume,
  volume: NewVolume,
): Promise<Created> {
  const found = await requireVolume(operation, source)
  const { path } = onlyVolume(found.appInstance).volume
  return await copyVolume(operation, found, volume, { clone_volume_src: { path } })
}

/**
 * Makes a volume by copying on the array, in constant time, then gives it the size and policy of its own.
 * @throws Unsupported when the array cannot copy there: across tenants, or from what others have made
 */
export async function copyVolume(
  operation: Operation,
  source: Found,
  volume: NewVolume,
  origin: Pick<CreateAppInstance, 'clone_volume_src' | 'clone_snapshot_src'>,
): Promise<Created> {
  const sizeGib = sizeInGib(volume.sizeBytes)
  const sourceGib = onlyVolume(source.appInstance).volume.size
  if ('clone_volume_src' in origin && sizeGib < sourceGib) {
    throw new Invalid(`A copy of ${sourceGib} GiB does not fit into ${sizeGib} GiB.`)
  }
  const policy = volumePolicy(operation.checked.policy, volume.type, (message) => operation.log.warn(message))
  const tenant = tenantOf(operation.checked.tenant, volume.projectId)
  if ((tenant ?? '/root') !== (source.tenant ?? '/root')) {
    throw new Unsupported(
      `The array cannot copy from tenant ${source.tenant ?? '/root'} to ${tenant ?? '/root'}.`,
    )
  }
  const body: CreateAppInstance = {
    create_mode: 'openstack',
    name: appInstanceName(volume.id, volume.displayName ?? volume.name),
    uuid: volume.id,
    ...origin,
  }
  try {
    return await provision(operation, tenant, volume, body, async (scope, appInstance) => {
      const { storageInstance } = onlyVolume(appInstance)
      if ((storageInstance.acl_policy?.initiators.length ?? 0) > 0) {
        await scope.setAclPolicy(storageInstance, { initiators: [], initiator_groups: [] }, operation.edf)
      }
      return await applyPolicy(operation, scope, appInstance, policy, sizeGib, {
        volumeId: volume.id,
        keepPlacement: false,
      })
    })
  } catch (error) {
    const { create_mode: mode } = source.appInstance
    if (error instanceof EdfInvalid && mode !== undefined && mode !== 'openstack') {
      throw new Unsupported(`The array refuses to copy a volume made in mode '${mode}'.`, { cause: error })
    }
    throw error
  }
}
