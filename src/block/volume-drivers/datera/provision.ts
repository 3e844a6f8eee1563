import {
  type AppInstance,
  type CreateAppInstance,
  EdfConflict,
  type EdfScope,
  isInUse,
  onlyVolume,
  removeAppInstance,
} from '@emberglass/edf'
import { GiB } from '../../../kernel/bytes.ts'
import { BackendError, Invalid, messageOf, type StorageError } from '../../../kernel/errors.ts'
import type { Created, NewVolume } from '../../volume-driver.ts'
import { kernelError } from './errors.ts'
import { findInTenant } from './lookup.ts'
import { writeVolumeMetadata } from './metadata.ts'
import { formatLocation } from './naming.ts'
import { type Operation, scopeOf, whenCleaning } from './operation.ts'

/** The array's limits of a volume's size, in GiB. */
const smallestGib = 1
const largestGib = 32_768

/** @returns whole GiB, rounded up @throws Invalid outside what the array takes */
export function sizeInGib(sizeBytes: number): number {
  const gib = Math.ceil(sizeBytes / GiB)
  if (gib < smallestGib || gib > largestGib) {
    throw new Invalid(`A volume of ${gib} GiB is outside ${smallestGib} to ${largestGib} GiB.`, {
      details: { sizeBytes },
    })
  }
  return gib
}

/**
 * Makes the app instance of a volume and finishes it. What was begun by an earlier call for the same volume is taken
 * over when it has a volume, and replaced when it has none. When anything fails, what this call has made is removed.
 * @param finish brings a made app instance to what was asked for; repeats safely
 */
export async function provision(
  operation: Operation,
  tenant: string | undefined,
  volume: NewVolume,
  body: CreateAppInstance,
  finish: (scope: EdfScope, appInstance: AppInstance) => Promise<AppInstance>,
): Promise<Created> {
  const scope = scopeOf(operation, tenant)
  const { appInstance, fresh } = await make(operation, scope, volume, body)
  try {
    const finished = await finish(scope, appInstance)
    checkSize(finished, volume)
    await writeVolumeMetadata(operation, scope, finished, volume)
    return { providerLocation: formatLocation({ tenant, appInstanceId: finished.id }) }
  } catch (error) {
    operation.edf.signal.throwIfAborted()
    if (!fresh) throw error
    throw await undone(operation, scope, appInstance, error)
  }
}

async function make(
  operation: Operation,
  scope: EdfScope,
  volume: NewVolume,
  body: CreateAppInstance,
): Promise<{ appInstance: AppInstance; fresh: boolean }> {
  const create = async () => {
    // The uuid makes the array refuse a second one. Without it, the name does, but names may have changed since.
    const earlier = body.uuid === undefined ? await findInTenant(operation, scope, volume.id) : undefined
    if (earlier !== undefined) throw new EdfConflict(`app instance ${earlier.name} exists`)
    return await scope.appInstances.create(body, operation.edf)
  }
  try {
    return { appInstance: await create(), fresh: true }
  } catch (error) {
    if (!(error instanceof EdfConflict)) throw error
    const earlier = await findInTenant(operation, scope, volume.id)
    if (earlier === undefined) throw error
    if ((earlier.storage_instances[0]?.volumes.length ?? 0) > 0) return { appInstance: earlier, fresh: false }
    operation.log.warn({ volumeId: volume.id, name: earlier.name }, 'replacing a half-made app instance')
    await removeAppInstance(scope, earlier, operation.edf)
    return { appInstance: await create(), fresh: true }
  }
}

/** Removes what was made, and answers the error that tells what is left. */
async function undone(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  cause: unknown,
): Promise<StorageError> {
  try {
    await removeAppInstance(scope, appInstance, whenCleaning(operation).edf)
  } catch (second) {
    operation.log.error(
      { name: appInstance.name, error: messageOf(second) },
      'could not remove an app instance',
    )
    const message = `${messageOf(cause)} The half-made app instance ${appInstance.name} is left.`
    return new BackendError(message, { left: 'partial', details: { name: appInstance.name }, cause })
  }
  return kernelError(cause)
}

function checkSize(appInstance: AppInstance, volume: NewVolume): void {
  const { size } = onlyVolume(appInstance).volume
  if (size * GiB < volume.sizeBytes) {
    throw new BackendError(`The array made ${size} GiB where ${volume.sizeBytes / GiB} GiB were asked for.`, {
      left: 'nothing',
      details: { volumeId: volume.id, size },
    })
  }
}

/** Changes that some arrays take only offline: tried online first, then offline when nobody uses the volume. */
export async function changeQuietly(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  change: () => Promise<unknown>,
): Promise<void> {
  try {
    await change()
    return
  } catch (error) {
    const refused = kernelError(error)
    if (!(refused instanceof Invalid) || appInstance.admin_state === 'offline' || isInUse(appInstance))
      throw error
  }
  await scope.appInstances.update(appInstance.path, { admin_state: 'offline' }, operation.edf)
  try {
    await change()
  } finally {
    await scope.appInstances.update(appInstance.path, { admin_state: 'online' }, whenCleaning(operation).edf)
  }
}
