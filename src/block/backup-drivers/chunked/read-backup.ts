import { type BlockDevice, isZero, readBytes, zeroRange } from '@emberglass/iscsi/device'
import { giveBack, limitBytes, MiB, regrouped } from '../../../kernel/bytes.ts'
import { BackendError, messageOf, NotFound } from '../../../kernel/errors.ts'
import type { BackupCall, StoredBackup } from '../../backup-driver.ts'
import { type BlobContainer, DamagedBlob } from './blob-store.ts'
import type { BlockDigests } from './block-digests.ts'
import { checksummed, compressionOf, decompressed } from './codec.ts'
import {
  type BackupMetadata,
  metadataName,
  type ObjectEntry,
  readMetadata,
  readSha256File,
  sha256Name,
} from './documents.ts'
import { hashThreads, sha256ByBlock, wholeMd5 } from './hash-threads.ts'
import { inLanes } from './lanes.ts'
import { zeroObjects } from './zero-objects.ts'

const pieceBytes = MiB

/** Where a backup's bytes go: onto a device, or nowhere, when it is only verified. */
export interface Sink {
  write(offset: number, piece: Uint8Array, call: BackupCall): Promise<void>
  zero(offset: number, length: number, call: BackupCall): Promise<void>
  flush(call: BackupCall): Promise<void>
}

export const nowhere: Sink = { write: async () => {}, zero: async () => {}, flush: async () => {} }

/** @param targetIsZeroed zeroes need not be written */
export function deviceSink(device: BlockDevice, targetIsZeroed: boolean): Sink {
  return {
    async zero(offset, length, call) {
      if (!targetIsZeroed) await zeroRange(device, offset, length, call)
    },
    async write(offset, piece, call) {
      const { blockSize } = device
      const head = offset % blockSize
      const tail = (offset + piece.byteLength) % blockSize
      if (head === 0 && tail === 0) {
        if (!isZero(piece)) await device.write(offset, piece, call)
        else if (!targetIsZeroed) await zeroRange(device, offset, piece.byteLength, call)
        return
      }
      // an object of another layout ends inside a block: the rest of the block stays as it is
      const length = Math.ceil((head + piece.byteLength) / blockSize) * blockSize
      const blocks = await readBytes(device, offset - head, length, call)
      blocks.set(piece, head)
      await device.write(offset - head, blocks, call)
    },
    flush: (call) => device.flush(call),
  }
}

/** What reading a backup works with. */
export interface ReadContext {
  readonly container: BlobContainer
  readonly backup: StoredBackup
  readonly lanes: number
  readonly sink: Sink
}

/**
 * Reads one level of a backup and checks every digest on the way.
 * @throws BackendError that names the object and its container when one is damaged, even when read a second time
 */
export async function readBackup(context: ReadContext, call: BackupCall): Promise<BackupMetadata> {
  const { container, backup, sink } = context
  const { prefix } = backup
  const metadata = await named(context, metadataName(prefix), () => readMetadata(container, backup, call))
  const { objects, sha256FileSha256 } = metadata
  await checkList(context, objects, call)
  const digests = await named(context, sha256Name(prefix), () =>
    readSha256File(container, backup, sha256FileSha256, call),
  )
  let doneBytes = 0
  const lanes = objects.every(({ offset }) => offset % 4096 === 0) ? context.lanes : 1
  await inLanes(lanes, objects, call, async (entry, inner) => {
    await named(context, entry.name, () => readObject(context, entry, digests, inner))
    doneBytes += entry.length
    call.onProgress(doneBytes)
    call.onObject?.()
  })
  await sink.flush(call)
  return metadata
}

async function checkList(
  { container, backup }: ReadContext,
  objects: readonly ObjectEntry[],
  call: BackupCall,
): Promise<void> {
  const found = new Set(await container.list(call))
  found.delete(metadataName(backup.prefix))
  found.delete(sha256Name(backup.prefix))
  const missing = objects.find(({ name }) => !found.delete(name))?.name
  const [unknown] = found
  if (missing === undefined && unknown === undefined) return
  const what = missing === undefined ? `${unknown} is there and not in it` : `${missing} is missing`
  throw new BackendError(
    `The objects of backup ${backup.id} in container ${backup.container} do not match its metadata: ${what}.`,
    { left: 'nothing', details: { backupId: backup.id, missing, unknown } },
  )
}

async function readObject(
  context: ReadContext,
  entry: ObjectEntry,
  digests: BlockDigests,
  call: BackupCall,
): Promise<void> {
  const { container, sink } = context
  const { blockBytes } = digests
  if (await readZeroes(context, entry, digests, call)) return
  let md5 = ''
  let found: Uint8Array = new Uint8Array(0)
  const tooLong = () => new DamagedBlob(`it has more than ${entry.length} bytes`)
  let crc32 = ''
  const stored = checksummed(container.get(entry.name, call), (hex) => {
    crc32 = hex
  })
  const plain = decompressed(stored, compressionOf(entry.compression))
  const pieces = regrouped(limitBytes(plain, entry.length, tooLong), pieceBytes)
  const byBlock = sha256ByBlock(blockBytes, (all) => {
    found = all
  })
  const ofAll = wholeMd5((hex) => {
    md5 = hex
  })
  const whole = hashThreads.hashed(pieces, byBlock, ofAll)
  let length = 0
  for await (const piece of whole) {
    await sink.write(entry.offset + length, piece, call)
    length += piece.byteLength
    giveBack(piece)
  }
  if (length !== entry.length) throw new DamagedBlob(`it has ${length} bytes, not ${entry.length}`)
  if (md5 !== entry.md5) throw new DamagedBlob(`its MD5 is ${md5}, not ${entry.md5}`)
  if (entry.storedCrc32 !== undefined && crc32 !== entry.storedCrc32) {
    throw new DamagedBlob(`the CRC-32 of its compressed bytes is ${crc32}, not ${entry.storedCrc32}`)
  }
  if (entry.offset % blockBytes !== 0) return
  const blocks = Math.ceil(entry.length / blockBytes)
  if (Buffer.compare(found, digests.of(entry.offset / blockBytes, blocks)) !== 0) {
    throw new DamagedBlob('its blocks have other digests than the sha256file says')
  }
}

/**
 * An object of zeroes that this process has written itself is not hashed again: the stored bytes are compared.
 * @returns false when it is another object, or holds something else
 */
async function readZeroes(
  { container, sink }: ReadContext,
  { name, offset, length, md5, compression, storedCrc32 }: ObjectEntry,
  digests: BlockDigests,
  call: BackupCall,
): Promise<boolean> {
  const { blockBytes } = digests
  if (offset % 4096 !== 0 || length % 4096 !== 0 || offset % blockBytes !== 0) return false
  const zero = await zeroObjects.known(length, blockBytes, compressionOf(compression))
  if (zero?.md5 !== md5 || zero.storedCrc32 !== storedCrc32) return false
  const listed = digests.of(offset / blockBytes, Math.ceil(length / blockBytes))
  if (Buffer.compare(zero.blockDigests, listed) !== 0) return false
  let at = 0
  for await (const part of container.get(name, call)) {
    if (Buffer.compare(part, zero.payload.subarray(at, at + part.byteLength)) !== 0) return false
    at += part.byteLength
  }
  if (at !== zero.payload.byteLength) return false
  await sink.zero(offset, length, call)
  return true
}

/** Reads an object, a second time when it came damaged, and says which one it was. */
async function named<Result>(
  { backup }: ReadContext,
  name: string,
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read().catch(async (error: unknown) => {
      if (!(error instanceof DamagedBlob)) throw error
      return await read()
    })
  } catch (error) {
    const details = { backupId: backup.id, object: name, container: backup.container }
    const where = `Object ${name} of backup ${backup.id} in container ${backup.container}`
    if (error instanceof DamagedBlob) {
      const message = `${where} is damaged: ${messageOf(error)}.`
      throw new BackendError(message, { left: 'unknown', details, cause: error })
    }
    if (error instanceof NotFound) {
      throw new BackendError(`${where} is missing.`, { left: 'unknown', details, cause: error })
    }
    throw error
  }
}
