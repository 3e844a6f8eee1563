import { type AppInstance, type EdfScope, onlyVolume, portalsOf, portalText } from '@emberglass/edf'
import { BackendError, Invalid } from '../../../kernel/errors.ts'
import type { BackendVolume, Connection, Connector } from '../../volume-driver.ts'
import { poolForHost, stableChoice } from './ip-pools.ts'
import { findVolume, requireVolume } from './lookup.ts'
import { writeAttachMetadata } from './metadata.ts'
import type { Operation } from './operation.ts'
import { pathIn } from './placement.ts'
import { volumePolicy } from './policies.ts'
import { isFromTemplate } from './templates.ts'

/** Lets a host in, and says how to connect. */
export async function attachVolume(
  operation: Operation,
  volume: BackendVolume,
  connector: Connector,
): Promise<Connection> {
  const { initiator } = connector
  if (initiator === undefined || initiator === '') {
    throw new Invalid('The connector has no initiator name.', { details: { volumeId: volume.id } })
  }
  const { tenant, scope, appInstance } = await requireVolume(operation, volume)
  const policy = volumePolicy(operation.checked.policy, volume.type, (message) => operation.log.warn(message))
  const online = await operation.array.hosts.admit(
    tenant,
    appInstance,
    initiator,
    operation.edf,
    async (before, unused) => {
      if (unused && !isFromTemplate(before)) {
        const pool = await poolForHost(operation, scope, policy.ip_pool, volume.id, connector.ip)
        await setPool(operation, scope, before, pool)
      }
      await setChap(operation, scope, before)
    },
  )
  await writeAttachMetadata(operation, scope, online, connector)
  return connectionOf(operation, volume, connector, online, policy.round_robin)
}

/** Shuts a host, or everyone, out. Others stay. */
export async function detachVolume(
  operation: Operation,
  volume: BackendVolume,
  from: Connector | 'everyone',
): Promise<void> {
  const who = from === 'everyone' ? from : from.initiator
  if (who === undefined || who === '') return
  const found = await findVolume(operation, volume)
  if (found === undefined) return
  await operation.array.hosts.expel(found.tenant, found.appInstance.path, who, true, operation.edf)
  const listed = found.appInstance.storage_instances[0]?.acl_policy?.initiators ?? []
  if (who === 'everyone' || listed.length <= 1) {
    await writeAttachMetadata(operation, found.scope, found.appInstance, undefined)
  }
}

/** Sets the backend's CHAP user where it differs, and none where CHAP has been switched off. */
export async function setChap(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
): Promise<void> {
  const { chap } = operation.checked
  for (const storageInstance of appInstance.storage_instances) {
    const { auth } = storageInstance
    if (isFromTemplate(appInstance)) {
      const differs = chap === undefined ? auth?.type !== 'none' : auth?.target_user_name !== chap.username
      if (differs && auth !== undefined) {
        operation.log.warn({ name: appInstance.name }, 'CHAP of this volume is decided by its template')
      }
    } else if (chap !== undefined) {
      // The array hides secrets, so that equal ones cannot be told apart: it is written each time. Sessions that
      // are alive do not notice.
      const user = { target_user_name: chap.username, target_pswd: chap.password }
      await scope.setAuth(storageInstance, { type: 'chap', ...user }, operation.edf)
    } else if (auth !== undefined && auth.type !== 'none') {
      await scope.setAuth(storageInstance, { type: 'none' }, operation.edf)
    }
  }
}

async function setPool(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  name: string,
): Promise<void> {
  const { storageInstance } = onlyVolume(appInstance)
  const path = pathIn('/access_network_ip_pools', name)
  if (storageInstance.ip_pool?.path === path) return
  await scope.storageInstances(appInstance).update(storageInstance.path, { ip_pool: { path } }, operation.edf)
}

/** Cinder's `connection_info`. All portals lead to the same target and its logical unit 0. */
function connectionOf(
  operation: Operation,
  volume: BackendVolume,
  connector: Connector,
  appInstance: AppInstance,
  roundRobin: boolean,
): Connection {
  const { storageInstance } = onlyVolume(appInstance)
  const iqn = storageInstance.access?.iqn
  const found = portalsOf(storageInstance, operation.settings.iscsiPort)
  if (iqn === undefined || found.length === 0) {
    throw new BackendError(`Volume ${volume.id} has no access address in its pool.`, { left: 'partial' })
  }
  // Hosts and volumes spread over the portals; the same host gets the same answer each time.
  const first = roundRobin ? stableChoice(`${volume.id} ${connector.initiator}`, found.length) : 0
  const portals = [...found.slice(first), ...found.slice(0, first)].map(portalText)
  const { chap } = operation.checked
  const { reportDiscard } = operation.settings
  return {
    driverVolumeType: 'iscsi',
    data: {
      target_discovered: false,
      target_iqn: iqn,
      target_portal: portals[0],
      target_lun: 0,
      target_iqns: portals.map(() => iqn),
      target_portals: portals,
      target_luns: portals.map(() => 0),
      volume_id: volume.id,
      ...(reportDiscard === undefined ? {} : { discard: reportDiscard }),
      ...(chap === undefined
        ? {}
        : { auth_method: 'CHAP', auth_username: chap.username, auth_password: chap.password }),
    },
  }
}
