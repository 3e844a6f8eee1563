import { createHash, randomFillSync } from 'node:crypto'
import { type IscsiDisk, openIscsiDisk } from '@emberglass/iscsi/initiator'
import { GiB, KiB, MiB } from '../kernel/bytes.ts'
import { BackendError } from '../kernel/errors.ts'
import { Cloud } from './cloud.ts'
import { TourReport } from './tour-report.ts'

const initiatorName = 'iqn.2026-11.org.emberglass:tour'
const strangerName = 'iqn.2026-11.org.emberglass:stranger'
const patienceMs = 600_000

interface Volume {
  readonly id: string
  readonly status: string
  readonly size: number
}

interface Attachment {
  readonly id: string
  readonly connection_info: { target_portal: string; target_iqn: string; target_lun: number }
}

/**
 * The whole trip: upload an image, make a volume of it on the array, attach it, read it back, snapshot, clone,
 * extend, and clean up; every byte is checked on the way.
 * @param stateDirectory of a running instance
 * @param mebibytes size of the random image, in MiB
 */
export async function tour(stateDirectory: string, mebibytes: number): Promise<void> {
  const report = new TourReport()
  const cloud = await report.step('log in', undefined, () => Cloud.login(stateDirectory))
  await using undo = new AsyncDisposableStack()
  const bytes = mebibytes * MiB
  const gibibytes = Math.ceil(bytes / GiB)

  const image = await report.step('create an image record', undefined, () =>
    cloud.image<{ id: string }>('POST', '/v2/images', {
      name: 'tour',
      disk_format: 'raw',
      container_format: 'bare',
    }),
  )
  undo.defer(() => cloud.image('DELETE', `/v2/images/${image.id}`))

  const uploaded = createHash('sha512')
  await report.step(`upload ${mebibytes} MiB of random bytes`, bytes, (onBytes) =>
    cloud.upload(
      image.id,
      randomBytes(bytes, (chunk, done) => {
        uploaded.update(chunk)
        onBytes(done)
      }),
      bytes,
    ),
  )
  const sha512 = uploaded.digest('hex')
  const shown = await cloud.image<{ os_hash_value: string }>('GET', `/v2/images/${image.id}`)
  check(shown.os_hash_value, sha512, 'the SHA-512 that the Image API reports')

  await report.step('download it again', bytes, async (onBytes) => {
    const hash = createHash('sha512')
    let done = 0
    for await (const chunk of await cloud.download(image.id)) {
      hash.update(chunk)
      done += chunk.byteLength
      onBytes(done)
    }
    check(hash.digest('hex'), sha512, 'the download')
  })

  const volume = await report.step('make a volume of it on the array', bytes, () =>
    createVolume(cloud, undo, { size: gibibytes, name: 'tour', imageRef: image.id }),
  )
  const attached = await attach(cloud, volume.id, initiatorName)
  const disk = await report.step('attach it over iSCSI', undefined, () => open(attached, initiatorName))
  undo.defer(async () => {
    await disk[Symbol.asyncDispose]()
    await cloud.block('DELETE', `/attachments/${attached.id}`)
  })
  await report.step('read it back over iSCSI', bytes, async (onBytes) => {
    check(await digest(disk, bytes, onBytes), sha512, 'the volume')
  })
  await report.step('see another initiator refused', undefined, async () => {
    const refused = await open(attached, strangerName).then(
      async (other) => {
        await other[Symbol.asyncDispose]()
        return false
      },
      () => true,
    )
    if (!refused)
      throw new BackendError('the array let in an initiator that is not on its list', { left: 'unknown' })
  })

  const snapshot = await report.step('take a snapshot', undefined, async () => {
    const { snapshot } = await cloud.block<{ snapshot: { id: string } }>('POST', '/snapshots', {
      snapshot: { volume_id: volume.id, name: 'tour', force: true },
    })
    undo.defer(() => remove(cloud, 'snapshot', snapshot.id))
    await settled<{ status: string }>(cloud, 'snapshot', snapshot.id)
    return snapshot
  })
  const cancel = { signal: AbortSignal.timeout(patienceMs) }
  const mark = randomFillSync(new Uint8Array(64 * KiB))
  await report.step('overwrite the beginning', undefined, async () => {
    await disk.write(0, mark, cancel)
    await disk.flush(cancel)
  })
  const old = await report.step('make a volume of the snapshot', undefined, () =>
    createVolume(cloud, undo, { size: gibibytes, name: 'tour-old', snapshot_id: snapshot.id }),
  )
  await report.step('find the old bytes in it', bytes, async (onBytes) => {
    await withDisk(cloud, old.id, async (oldDisk) => {
      check(await digest(oldDisk, bytes, onBytes), sha512, 'the volume made of the snapshot')
    })
  })
  const clone = await report.step('clone the volume', undefined, () =>
    createVolume(cloud, undo, { size: gibibytes, name: 'tour-clone', source_volid: volume.id }),
  )
  await report.step('find the new bytes in it', undefined, async () => {
    await withDisk(cloud, clone.id, async (cloneDisk) => {
      const into = new Uint8Array(mark.byteLength)
      await cloneDisk.read(0, into, cancel)
      if (Buffer.compare(into, mark) !== 0) throw wrongBytes('the clone')
    })
  })
  await report.step('extend the volume while it is attached', undefined, async () => {
    await cloud.block('POST', `/volumes/${clone.id}/action`, { 'os-extend': { new_size: gibibytes + 1 } })
    const grown = await settled<Volume>(cloud, 'volume', clone.id)
    check(String(grown.size), String(gibibytes + 1), 'the size')
  })
  await report.step('delete everything, sources first', undefined, () => undo.disposeAsync())
  process.stdout.write(`\n${report.summary()}\n`)
}

async function* randomBytes(
  total: number,
  onChunk: (chunk: Uint8Array, done: number) => void,
): AsyncIterable<Uint8Array> {
  for (let done = 0; done < total; done += MiB) {
    const chunk = randomFillSync(new Uint8Array(MiB))
    onChunk(chunk, done + MiB)
    yield chunk
  }
}

async function createVolume(cloud: Cloud, undo: AsyncDisposableStack, body: object): Promise<Volume> {
  const { volume } = await cloud.block<{ volume: Volume }>('POST', '/volumes', { volume: body })
  undo.defer(() => remove(cloud, 'volume', volume.id))
  return settled<Volume>(cloud, 'volume', volume.id)
}

/** Waits until a resource is `available`. @throws BackendError when it ends otherwise, or takes too long */
async function settled<Resource extends { status: string }>(
  cloud: Cloud,
  kind: 'volume' | 'snapshot',
  id: string,
): Promise<Resource> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    const body = await cloud.block<Record<string, Resource>>('GET', `/${kind}s/${id}`)
    const resource = body[kind]
    if (resource !== undefined && ['available', 'in-use'].includes(resource.status)) return resource
    if (resource === undefined || resource.status.startsWith('error') || performance.now() > deadline) {
      throw new BackendError(`The ${kind} ${id} is ${resource?.status}, not available.`, { left: 'partial' })
    }
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function remove(cloud: Cloud, kind: 'volume' | 'snapshot', id: string): Promise<void> {
  await cloud.block('DELETE', `/${kind}s/${id}`)
  const deadline = performance.now() + patienceMs
  for (;;) {
    const body = await cloud.block<Record<string, { id: string }[]>>('GET', `/${kind}s`)
    if (body[`${kind}s`]?.some((resource) => resource.id === id) !== true) return
    if (performance.now() > deadline)
      throw new BackendError(`The ${kind} ${id} does not go.`, { left: 'partial' })
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function attach(cloud: Cloud, volumeId: string, initiator: string): Promise<Attachment> {
  const { attachment } = await cloud.block<{ attachment: Attachment }>('POST', '/attachments', {
    attachment: {
      volume_uuid: volumeId,
      instance_uuid: crypto.randomUUID(),
      connector: { initiator, ip: '127.0.0.1', host: 'tour', multipath: false },
    },
  })
  await cloud.block('POST', `/attachments/${attachment.id}/action`, { 'os-complete': null })
  return attachment
}

function open(attachment: Attachment, initiator: string): Promise<IscsiDisk> {
  const { target_portal, target_iqn, target_lun } = attachment.connection_info
  const colon = target_portal.lastIndexOf(':')
  return openIscsiDisk(
    {
      portals: [{ host: target_portal.slice(0, colon), port: Number(target_portal.slice(colon + 1)) }],
      targetName: target_iqn,
      lun: target_lun,
      initiatorName: initiator,
    },
    { signal: AbortSignal.timeout(patienceMs) },
  )
}

async function withDisk(
  cloud: Cloud,
  volumeId: string,
  work: (disk: IscsiDisk) => Promise<void>,
): Promise<void> {
  const attachment = await attach(cloud, volumeId, initiatorName)
  try {
    await using disk = await open(attachment, initiatorName)
    await work(disk)
  } finally {
    await cloud.block('DELETE', `/attachments/${attachment.id}`)
  }
}

/** SHA-512 of the first bytes of a disk, read with several commands in flight. */
async function digest(disk: IscsiDisk, bytes: number, onBytes: (done: number) => void): Promise<string> {
  const hash = createHash('sha512')
  const cancel = { signal: AbortSignal.timeout(patienceMs) }
  const chunkBytes = 4 * MiB
  const read = async (offset: number) => {
    const into = new Uint8Array(Math.min(chunkBytes, bytes - offset))
    await disk.read(offset, into, cancel)
    return into
  }
  let next: Promise<Uint8Array> | undefined = read(0)
  for (let offset = 0; offset < bytes; offset += chunkBytes) {
    const chunk: Uint8Array = await (next ?? read(offset))
    next = offset + chunkBytes < bytes ? read(offset + chunkBytes) : undefined
    hash.update(chunk)
    onBytes(offset + chunk.byteLength)
  }
  return hash.digest('hex')
}

function check(found: string, expected: string, what: string): void {
  if (found !== expected) throw wrongBytes(what, found, expected)
}

const wrongBytes = (what: string, found = '', expected = '') =>
  new BackendError(
    `${what} is not what was written (${found.slice(0, 16)} instead of ${expected.slice(0, 16)})`,
    {
      left: 'unknown',
    },
  )
