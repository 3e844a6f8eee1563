import type { AppInstance, EdfScope } from '@emberglass/edf'
import { messageOf } from '../../../kernel/errors.ts'
import type { Connector, NewVolume } from '../../volume-driver.ts'
import type { Operation } from './operation.ts'

/** Longest value that is written: the whole map of an app instance has to stay below 2048 characters. */
const longestValue = 255

/** Says on the array whose volume an app instance is. Best effort: nothing depends on it. */
export async function writeVolumeMetadata(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  volume: NewVolume,
): Promise<void> {
  await write(operation, scope, appInstance, {
    host: operation.backend.host ?? operation.backend.name,
    display_name: volume.displayName ?? volume.name,
    bootable: volume.bootable ? 'True' : 'False',
    ...(volume.availabilityZone === undefined ? {} : { availability_zone: volume.availabilityZone }),
    project_id: volume.projectId,
    ...(volume.type === undefined ? {} : { volume_type: volume.type.name }),
  })
}

/** Takes back what we wrote on an app instance that is not ours any more: pairs can be emptied, not removed. */
export async function clearVolumeMetadata(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
): Promise<void> {
  const written = ['host', 'display_name', 'bootable', 'availability_zone', 'project_id', 'volume_type']
  const known = await scope.metadata(appInstance, operation.edf).catch(() => ({}))
  const ours = written.filter((key) => key in known)
  if (ours.length === 0) return
  await write(operation, scope, appInstance, Object.fromEntries(ours.map((key) => [key, ''])))
}

/** Remembers what an app instance was before it was managed. */
export async function writeOrigin(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
): Promise<void> {
  await write(operation, scope, appInstance, {
    managed_name: appInstance.name,
    managed_create_mode: appInstance.create_mode ?? 'normal',
  })
}

/** Notes who is attached, or, with no connector, that nobody is. */
export async function writeAttachMetadata(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  connector: Connector | undefined,
): Promise<void> {
  await write(operation, scope, appInstance, {
    attached_host: connector?.host ?? '',
    initiator: connector?.initiator ?? '',
    ip: connector?.ip ?? '',
    multipath: connector?.multipath === undefined ? '' : String(connector.multipath),
  })
}

async function write(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  pairs: Readonly<Record<string, string>>,
): Promise<void> {
  if (operation.settings.disableMetadata) return
  const short = Object.fromEntries(
    Object.entries(pairs).map(([key, value]) => [key, value.slice(0, longestValue)]),
  )
  try {
    await scope.addMetadata(appInstance, short, operation.edf)
  } catch (error) {
    operation.edf.signal.throwIfAborted()
    operation.log.warn({ name: appInstance.name, error: messageOf(error) }, 'could not write metadata')
  }
}
