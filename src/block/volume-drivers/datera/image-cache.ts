import { createHash, type Hash } from 'node:crypto'
import {
  type AppInstance,
  type CreateAppInstance,
  type EdfScope,
  findAppInstances,
  removeAppInstance,
} from '@emberglass/edf'
import { type BlockDevice, writeStream } from '@emberglass/iscsi/device'
import { type Bytes, GiB, MiB } from '../../../kernel/bytes.ts'
import { BackendError, Misconfigured, messageOf } from '../../../kernel/errors.ts'
import type { CloneableImage } from '../../volume-driver.ts'
import { setChap } from './attach.ts'
import { makeRoom } from './image-cache-room.ts'
import { chooseIpPool } from './ip-pools.ts'
import type { Found } from './lookup.ts'
import { cachedImageDescription } from './manage.ts'
import { cachedImageName } from './naming.ts'
import { type Operation, scopeOf, whenCleaning } from './operation.ts'
import { pathIn, placementOf } from './placement.ts'
import { type Policy, volumePolicy } from './policies.ts'

/** Bytes of one write, and writes under way. */
const chunkBytes = MiB
const depth = 8

/**
 * The driver's own copy of an image in a tenant; made first when there is none of its content. The service lets one
 * caller in at a time for each image: the others find the copy then.
 * @returns undefined when the cache is off, or the copy cannot be made: that is logged, and never a user's error
 */
export async function cachedImage(
  operation: Operation,
  tenant: string | undefined,
  image: CloneableImage,
): Promise<Found | undefined> {
  if (!operation.settings.imageCache) return undefined
  try {
    return await findOrFill(operation, tenant, image)
  } catch (error) {
    operation.edf.signal.throwIfAborted()
    operation.log.warn({ imageId: image.id, error: messageOf(error) }, 'the image is not kept on the array')
    return undefined
  }
}

async function findOrFill(
  operation: Operation,
  tenant: string | undefined,
  image: CloneableImage,
): Promise<Found> {
  const scope = scopeOf(operation, tenant)
  const name = cachedImageName(image.id)
  const [earlier] = await findAppInstances(scope, name, (each) => each.name === name, operation.edf)
  if (earlier !== undefined) {
    const { type, checksum } = await scope.metadata(earlier, operation.edf)
    if (type === 'cached_image' && checksum === contentOf(image)) {
      await touch(operation, scope, earlier)
      return { tenant, scope, appInstance: earlier }
    }
    // Half-written by a process that was killed, or of other content: `type` is written last.
    await removeAppInstance(scope, earlier, operation.edf)
  }
  await operation.array.tenants.ensure(tenant, operation.edf)
  const policy = await cachePolicy(operation)
  const sizeGib = Math.max(1, Math.ceil((image.virtualSizeBytes ?? image.sizeBytes ?? 0) / GiB))
  await makeRoom(operation, scope, sizeGib)
  const appInstance = await scope.appInstances.create(
    bodyOf(operation, image, policy, sizeGib),
    operation.edf,
  )
  try {
    await fill(operation, tenant, appInstance, image)
    const pairs = { type: 'cached_image', checksum: contentOf(image), length: String(image.sizeBytes) }
    await scope.addMetadata(appInstance, pairs, operation.edf)
    await touch(operation, scope, appInstance)
    operation.log.info({ imageId: image.id, sizeGib }, 'the image is kept on the array now')
    return { tenant, scope, appInstance }
  } catch (error) {
    await removeAppInstance(scope, appInstance, whenCleaning(operation).edf)
    throw error
  }
}

/** What makes two images the same: their content, whatever their properties. */
function contentOf(image: CloneableImage): string {
  return image.osHashValue ?? image.checksum ?? `of ${image.sizeBytes} bytes`
}

/** @throws Misconfigured when the type of the option does not exist */
async function cachePolicy(operation: Operation): Promise<Policy> {
  const { imageCacheTypeId } = operation.settings
  const { policy } = operation.checked
  if (imageCacheTypeId === undefined) return policy
  const type = await operation.backend.volumeType?.(imageCacheTypeId)
  if (type === undefined) {
    throw new Misconfigured(`datera_image_cache_volume_type_id: there is no type ${imageCacheTypeId}.`)
  }
  return volumePolicy(policy, type, (message) => operation.log.warn(message))
}

function bodyOf(
  operation: Operation,
  image: CloneableImage,
  policy: Policy,
  sizeGib: number,
): CreateAppInstance {
  const pool = chooseIpPool(policy.ip_pool, image.id)
  return {
    create_mode: 'openstack',
    uuid: image.id,
    name: cachedImageName(image.id),
    descr: `${cachedImageDescription} ${image.id}`,
    access_control_mode: 'deny_all',
    storage_instances: [
      {
        name: 'storage-1',
        ip_pool: { path: pathIn('/access_network_ip_pools', pool) },
        volumes: [
          {
            name: 'volume-1',
            size: sizeGib,
            replica_count: policy.replica_count,
            snapshot_policies: [],
            ...placementOf(operation, policy),
          },
        ],
      },
    ],
  }
}

/** Writes the image's disk, and proves that it is what the Image API says it is. Closing takes our access back. */
async function fill(
  operation: Operation,
  tenant: string | undefined,
  appInstance: AppInstance,
  image: CloneableImage,
): Promise<void> {
  const scope = scopeOf(operation, tenant)
  await using source = await image.open({ signal: operation.edf.signal, log: operation.log })
  await using disk = await operation.array.disks.open(tenant, appInstance, 'rw', operation.edf, (before) =>
    setChap(operation, scope, before),
  )
  const sizeBytes = image.sizeBytes ?? source.sizeBytes
  const digest = digestOf(image)
  const bytes = read(source, sizeBytes, digest?.hash, operation.edf.signal)
  await writeStream(bytes, disk, { chunkBytes, depth, skipZeroes: true, targetIsZeroed: true }, operation.edf)
  await disk.flush(operation.edf)
  const found = digest?.hash.digest('hex')
  if (found !== digest?.expected) {
    throw new BackendError(`The data of image ${image.id} is not what its checksum says.`, {
      left: 'partial',
    })
  }
}

function digestOf(image: CloneableImage): { hash: Hash; expected: string } | undefined {
  const { osHashAlgo, osHashValue, checksum } = image
  if (osHashAlgo !== undefined && osHashValue !== undefined) {
    return { hash: createHash(osHashAlgo), expected: osHashValue }
  }
  return checksum === undefined ? undefined : { hash: createHash('md5'), expected: checksum }
}

/** The first bytes of a device in order, the next piece read while one is hashed and written. */
async function* read(
  source: BlockDevice,
  sizeBytes: number,
  hash: Hash | undefined,
  signal: AbortSignal,
): Bytes {
  const { blockSize } = source
  const piece = async (offset: number) => {
    const wanted = Math.min(chunkBytes, sizeBytes - offset)
    const into = new Uint8Array(Math.ceil(wanted / blockSize) * blockSize)
    await source.read(offset, into, { signal })
    return into.subarray(0, wanted)
  }
  let next = sizeBytes > 0 ? piece(0) : undefined
  for (let offset = 0; next !== undefined; offset += chunkBytes) {
    const bytes: Uint8Array = await next
    next = offset + chunkBytes < sizeBytes ? piece(offset + chunkBytes) : undefined
    next?.catch(() => {}) // seen when it is awaited; not before, when this stops early
    hash?.update(bytes)
    yield bytes
  }
}

/** So that room is made of what was not used for long. Best effort. */
async function touch(operation: Operation, scope: EdfScope, appInstance: AppInstance): Promise<void> {
  const pairs = { last_used: new Date().toISOString() }
  await scope.addMetadata(appInstance, pairs, operation.edf).catch((error: unknown) => {
    operation.edf.signal.throwIfAborted()
    operation.log.warn({ name: appInstance.name, error: messageOf(error) }, 'could not write metadata')
  })
}
