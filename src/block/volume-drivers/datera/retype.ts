import { type AppInstance, type EdfScope, isInUse, onlyVolume } from '@emberglass/edf'
import { Invalid, messageOf } from '../../../kernel/errors.ts'
import type { BackendVolume, RetypeRequest } from '../../volume-driver.ts'
import { volumeChanges } from './apply-policy.ts'
import { kernelError } from './errors.ts'
import { namedPools, stableChoice } from './ip-pools.ts'
import { requireVolume } from './lookup.ts'
import { writeVolumeMetadata } from './metadata.ts'
import { type Operation, whenCleaning } from './operation.ts'
import { pathIn } from './placement.ts'
import { type Policy, volumePolicy } from './policies.ts'
import { changeQuietly } from './provision.ts'
import { limitsFor, sameLimits } from './quality-of-service.ts'

/**
 * Gives a volume another type where it lies: pool, replicas and placement, limits. Decides first; what was changed is
 * put back when a later change fails, but for replicas, of which there can never be fewer.
 * @returns why that cannot be done in place
 */
export async function retypeVolume(
  operation: Operation,
  volume: BackendVolume,
  request: RetypeRequest,
): Promise<string | undefined> {
  const policies = readPolicies(operation, volume, request)
  if (typeof policies === 'string') return policies
  const { scope, appInstance } = await requireVolume(operation, volume)
  const pool = newPool(appInstance, policies, volume.id)
  const reason =
    otherBackend(operation, request) ??
    otherTemplate(appInstance, policies.after) ??
    fewerReplicas(appInstance, policies.after) ??
    (pool !== undefined && (request.attached || isInUse(appInstance))
      ? 'Another IP pool would interrupt the hosts that use the volume: detach it first.'
      : undefined)
  if (reason !== undefined) return reason
  const fromTemplate = policies.after.template !== ''
  const undo: (() => Promise<unknown>)[] = []
  try {
    if (!fromTemplate && pool !== undefined) await changePool(operation, scope, appInstance, pool, undo)
    if (!fromTemplate) await changePlacement(operation, scope, appInstance, policies.after, undo)
    await changeLimits(operation, scope, appInstance, policies.after)
  } catch (error) {
    await putBack(operation, appInstance, undo)
    operation.edf.signal.throwIfAborted()
    const refused = kernelError(error)
    if (refused instanceof Invalid) return `The array refuses to change the volume: ${refused.message}`
    throw error
  }
  const retyped = { ...volume, type: request.newType }
  await writeVolumeMetadata(operation, scope, appInstance, retyped)
  return undefined
}

interface Policies {
  readonly before: Policy
  readonly after: Policy
}

/** A type that says something impossible is a reason, not an error: nothing has been touched. */
function readPolicies(
  operation: Operation,
  volume: BackendVolume,
  { newType }: RetypeRequest,
): Policies | string {
  const base = operation.checked.policy
  try {
    return {
      // the old type may have been broken since: then nothing is known of it
      before: readable(() => volumePolicy(base, volume.type, () => {})) ?? base,
      after: volumePolicy(base, newType, (message) => operation.log.warn(message)),
    }
  } catch (error) {
    if (error instanceof Invalid) return error.message
    throw error
  }
}

function readable(read: () => Policy): Policy | undefined {
  try {
    return read()
  } catch (error) {
    if (error instanceof Invalid) return undefined
    throw error
  }
}

/** Only a plain name says so; what has operators is the scheduler's to decide. */
function otherBackend(operation: Operation, { newType }: RetypeRequest): string | undefined {
  const name = newType.extraSpecs['volume_backend_name']
  const ours = operation.backend.volumeBackendName
  if (name === undefined || name.includes(' ') || name.toLowerCase() === ours.toLowerCase()) return undefined
  return `The type wants backend ${name}, this is ${ours}.`
}

function otherTemplate(appInstance: AppInstance, after: Policy): string | undefined {
  const current = appInstance.app_template?.path ?? ''
  const wanted = after.template === '' ? '' : pathIn('/app_templates', after.template)
  if (current === wanted) return undefined
  return 'The template of a volume cannot be changed.'
}

function fewerReplicas(appInstance: AppInstance, after: Policy): string | undefined {
  const { replica_count: current } = onlyVolume(appInstance).volume
  if (after.template !== '' || after.replica_count >= current) return undefined
  return `The volume has ${current} replicas: there can be more, but not ${after.replica_count}.`
}

/** The pool that the new type wants, when the volume is in none that it names. */
function newPool(
  appInstance: AppInstance,
  { before, after }: Policies,
  volumeId: string,
): string | undefined {
  if (before.ip_pool === after.ip_pool) return undefined
  const paths = namedPools(after.ip_pool).map((name) => pathIn('/access_network_ip_pools', name))
  const current = onlyVolume(appInstance).storageInstance.ip_pool?.path ?? ''
  return paths.includes(current) ? undefined : paths[stableChoice(volumeId, paths.length)]
}

async function changePool(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  path: string,
  undo: (() => Promise<unknown>)[],
): Promise<void> {
  const { storageInstance } = onlyVolume(appInstance)
  const collection = scope.storageInstances(appInstance)
  const before = storageInstance.ip_pool?.path
  await changeQuietly(operation, scope, appInstance, () =>
    collection.update(storageInstance.path, { ip_pool: { path } }, operation.edf),
  )
  if (before === undefined || before === '') return
  const cleaning = whenCleaning(operation).edf
  undo.push(() => collection.update(storageInstance.path, { ip_pool: { path: before } }, cleaning))
}

async function changePlacement(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  after: Policy,
  undo: (() => Promise<unknown>)[],
): Promise<void> {
  const { storageInstance, volume } = onlyVolume(appInstance)
  const changes = volumeChanges(operation, appInstance, after)
  if (changes === undefined) return
  const volumes = scope.volumes(storageInstance)
  await changeQuietly(operation, scope, appInstance, () =>
    volumes.update(volume.path, changes, operation.edf),
  )
  const cleaning = whenCleaning(operation).edf
  const policy = volume.placement_policy?.path
  const mode = after.placement_mode === volume.placement_mode ? undefined : volume.placement_mode
  if ('placement_policy' in changes && policy !== undefined) {
    undo.push(() => volumes.update(volume.path, { placement_policy: { path: policy } }, cleaning))
  } else if (
    'placement_mode' in changes &&
    (mode === 'hybrid' || mode === 'single_flash' || mode === 'all_flash')
  ) {
    undo.push(() => volumes.update(volume.path, { placement_mode: mode }, cleaning))
  }
}

/** One request; limits that the new type does not have are removed. */
async function changeLimits(
  operation: Operation,
  scope: EdfScope,
  appInstance: AppInstance,
  after: Policy,
): Promise<void> {
  const { volume } = onlyVolume(appInstance)
  const limits = limitsFor(after, volume.size)
  if (sameLimits(volume.performance_policy, limits)) return
  await scope.setPerformancePolicy(volume, limits, operation.edf)
}

async function putBack(
  operation: Operation,
  appInstance: AppInstance,
  undo: readonly (() => Promise<unknown>)[],
): Promise<void> {
  for (const step of undo.toReversed()) {
    await step().catch((error: unknown) => {
      operation.log.error(
        { name: appInstance.name, error: messageOf(error) },
        'a half-made change of type could not be put back',
      )
    })
  }
}
