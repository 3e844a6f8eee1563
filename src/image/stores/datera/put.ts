import { createHash, type Hash } from 'node:crypto'
import {
  type AppInstance,
  type CreateAppInstance,
  EdfConflict,
  type EdfScope,
  findAppInstances,
  onlyVolume,
  removeAppInstance,
} from '@emberglass/edf'
import { writeStream } from '@emberglass/iscsi/device'
import { type Bytes, exactBytes, GiB, givingBack, MiB } from '../../../kernel/bytes.ts'
import { Conflict, messageOf, NoCapacity } from '../../../kernel/errors.ts'
import { GrowingDisk } from './growing-disk.ts'
import { imageName } from './location.ts'
import { imageFacts, type StoreOperation } from './operation.ts'

/** Bytes of one write, and writes under way: together the memory that an upload takes. */
const chunkBytes = MiB
const depth = 8
const largestGib = 32_768

/**
 * Writes an image to an app instance of its own. When anything fails, the app instance is removed.
 * @param checksum MD5 of the data, once it has been pulled; without it the data is digested here
 * @returns bytes written
 */
export async function putImage(
  operation: StoreOperation,
  imageId: string,
  data: Bytes,
  sizeBytes: number | undefined,
  checksum: (() => Promise<string>) | undefined,
): Promise<number> {
  const { array, tenant, edf, settings } = operation
  await array.tenants.ensure(tenant, edf)
  const scope = array.client.in(tenant)
  const gib = sizeBytes === undefined ? settings.initialGib : Math.max(1, Math.ceil(sizeBytes / GiB))
  if (gib > largestGib) throw new NoCapacity(`An image of ${gib} GiB is larger than any volume of the array.`)
  const appInstance = await make(operation, scope, imageId, gib)
  try {
    const own = checksum === undefined ? createHash('md5') : undefined
    const source = givingBack(own === undefined ? data : digested(data, own))
    const length = await write(operation, scope, appInstance, source, sizeBytes)
    const md5 = own?.digest('hex') ?? (await checksum?.()) ?? ''
    await scope.addMetadata(appInstance, { type: 'image', length: String(length), checksum: md5 }, edf)
    return length
  } catch (error) {
    const cleaning = { ...edf, signal: AbortSignal.timeout(60_000) }
    try {
      await removeAppInstance(scope, appInstance, cleaning)
    } catch (second) {
      operation.log.error({ imageId, error: messageOf(second) }, 'could not remove a half-written image')
    }
    throw error
  }
}

async function write(
  operation: StoreOperation,
  scope: EdfScope,
  appInstance: AppInstance,
  data: Bytes,
  sizeBytes: number | undefined,
): Promise<number> {
  const { array, tenant, edf, settings } = operation
  await using disk = await array.disks.open(tenant, appInstance, 'rw', edf, operation.prepare)
  const { storageInstance, volume } = onlyVolume(appInstance)
  const options = { chunkBytes, depth, skipZeroes: true, targetIsZeroed: true }
  if (sizeBytes !== undefined) {
    return (await writeStream(exactBytes(data, sizeBytes), disk, options, edf)).totalBytes
  }
  const unitGib = Math.max(1, Math.ceil(settings.growthBytes / GiB))
  const growing = new GrowingDisk(
    disk,
    {
      scope,
      storageInstance,
      volume,
      unitGib,
      attempts: settings.retryAttempts,
      intervalMs: settings.retryIntervalSeconds * 1000,
      limitMs: settings.operationLimitSeconds * 1000,
    },
    edf,
  )
  const { totalBytes } = await writeStream(data, growing, options, edf)
  // Zeroes at the end are not written: the volume may still be too short for them.
  await growing.reach(totalBytes)
  return totalBytes
}

async function make(
  operation: StoreOperation,
  scope: EdfScope,
  imageId: string,
  gib: number,
): Promise<AppInstance> {
  const body = bodyFor(operation, imageId, gib)
  const create = async (request: CreateAppInstance) => await scope.appInstances.create(request, operation.edf)
  try {
    return await create(body)
  } catch (error) {
    if (!(error instanceof EdfConflict)) throw error
  }
  const name = imageName(imageId)
  const [earlier] = await findAppInstances(scope, name, (each) => each.name === name, operation.edf)
  if (earlier !== undefined) {
    const { length } = await imageFacts(scope, earlier, operation.edf)
    const inUse = earlier.storage_instances.some((each) => (each.active_initiators ?? []).length > 0)
    if (length !== undefined || inUse) {
      throw new Conflict(`Image ${imageId} is in the store already.`, { details: { imageId } })
    }
    operation.log.warn({ imageId }, 'replacing a half-written image')
    await removeAppInstance(scope, earlier, operation.edf)
    return await create(body)
  }
  // Something else on the array has the image's id as its uuid: a cached image of the volume driver.
  const { uuid: _, ...withoutUuid } = body
  return await create(withoutUuid)
}

function bodyFor({ array, settings }: StoreOperation, imageId: string, gib: number): CreateAppInstance {
  const policy =
    settings.placementPolicy ?? (settings.placementMode === 'hybrid' ? 'default' : settings.placementMode)
  const placement = array.client.has('placementPolicy')
    ? { placement_policy: { path: policy.startsWith('/') ? policy : `/placement_policies/${policy}` } }
    : { placement_mode: settings.placementMode }
  return {
    create_mode: 'openstack',
    uuid: imageId,
    name: imageName(imageId),
    access_control_mode: 'deny_all',
    storage_instances: [
      {
        name: 'storage-1',
        volumes: [
          {
            name: 'volume-1',
            size: gib,
            replica_count: settings.replicaCount,
            snapshot_policies: [],
            ...placement,
          },
        ],
      },
    ],
  }
}

/** Passes the data through, showing each chunk. */
async function* digested(data: Bytes, digest: Hash): Bytes {
  for await (const chunk of data) {
    digest.update(chunk)
    yield chunk
  }
}
