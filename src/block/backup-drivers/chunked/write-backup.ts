import { readStream } from '@emberglass/iscsi/device'
import { type Bytes, MiB, watchBytes } from '../../../kernel/bytes.ts'
import { sleep } from '../../../kernel/call.ts'
import { BackendError, Invalid } from '../../../kernel/errors.ts'
import type { BackupCall, BackupResult, BackupSource, NewBackup } from '../../backup-driver.ts'
import { KnownZeroes } from './allocation.ts'
import type { BlobContainer, BlobStore } from './blob-store.ts'
import { BlockDigests } from './block-digests.ts'
import { changedParts, differingParts } from './changes.ts'
import { type Compression, checksummed, compressed, compressionOf, shrinks } from './codec.ts'
import { type ObjectEntry, objectName, writeMetadata, writeSha256File } from './documents.ts'
import { type Chunk, chunksOf, geometryOf, geometryOfIncrement } from './geometry.ts'
import { hashThreads, type StreamHash, sha256ByBlock, wholeMd5 } from './hash-threads.ts'
import { inLanes } from './lanes.ts'
import { zeroDigests, zeroObjects } from './zero-objects.ts'

/** Reads of the volume for each object: bytes of one, and how many are under way. */
const reads = { chunkBytes: MiB, depth: 4 }

/** What writing a backup works with. */
export interface WriteContext {
  readonly store: BlobStore
  readonly container: BlobContainer
  /** As it is configured: the name is recorded with each object. */
  readonly compression: string
  readonly backup: NewBackup
  readonly source: BackupSource
  /** Of the parent, when there is one. */
  readonly parent: BlockDigests | undefined
}

/**
 * Writes the objects, then the digests, then the metadata that makes the backup whole.
 * @throws Invalid when the parent does not fit
 */
export async function writeBackup(context: WriteContext, call: BackupCall): Promise<BackupResult> {
  const { store, container, backup, source, parent } = context
  const { sizeBytes } = backup
  if (source.device.sizeBytes < sizeBytes) {
    throw new Invalid(`The volume has ${source.device.sizeBytes} bytes, not ${sizeBytes}.`)
  }
  const geometry =
    parent === undefined ? geometryOf(store, sizeBytes) : geometryOfIncrement(store, sizeBytes, parent)
  const writer = new ObjectWriter(context, geometry.blockBytes, call)
  const chunks = chunksOf(sizeBytes, geometry)
  await inLanes(store.lanes, chunks, call, async (chunk, inner) => {
    if (parent === undefined) await writer.writeWhole(chunk, inner)
    else await writer.writeChanges(chunk, parent, inner)
  })
  const sha256FileSha256 = await writeSha256File(container, backup, writer.digests, call)
  const objects = writer.objects.toSorted((one, other) => one.offset - other.offset)
  const metadata = { objects, volumeMetadata: backup.volumeMetadata, sha256FileSha256 }
  const metadataSha256 = await writeMetadata(container, backup, metadata, call)
  return { objectCount: objects.length, metadataSha256 }
}

/** Writes the objects of one backup and remembers what it has written. */
class ObjectWriter {
  readonly objects: ObjectEntry[] = []
  readonly digests: BlockDigests
  readonly #context: WriteContext
  readonly #call: BackupCall
  readonly #zeroes: KnownZeroes
  #doneBytes = 0
  #nextNumber = 1

  constructor(context: WriteContext, blockBytes: number, call: BackupCall) {
    this.#context = context
    this.#call = call
    this.#zeroes = new KnownZeroes(context.source.device)
    this.digests = BlockDigests.empty(blockBytes, context.backup.sizeBytes)
  }

  /** One object with all bytes of a chunk. */
  async writeWhole(chunk: Chunk, call: BackupCall): Promise<void> {
    const name = this.#nextName()
    const { blockBytes } = this.digests
    const firstBlock = chunk.offset / blockBytes
    const compression = compressionOf(this.#context.compression)
    if (compression !== 'none' && (await this.#zeroes.cover(chunk, call))) {
      const zero = await zeroObjects.of(chunk.length, blockBytes, compression)
      await this.#context.container.put(name, once(Uint8Array.from(zero.payload)), call)
      this.digests.set(firstBlock, zero.blockDigests)
      this.#written({ name, ...chunk, compression: this.#context.compression, ...zero })
      this.#advance(chunk.length)
      return
    }
    let told = 0
    const source = () => {
      let read = 0
      const onRead = (bytes: number) => {
        read += bytes
        if (read <= told) return // read a second time
        this.#advance(read - told)
        told = read
      }
      return this.#read(chunk, call, onRead)
    }
    await this.#writeObject(name, chunk, { source, hashes: [this.#digestsFrom(firstBlock)] }, call)
  }

  /** An object for each stretch of a chunk that differs from the parent. */
  async writeChanges(chunk: Chunk, parent: BlockDigests, call: BackupCall): Promise<void> {
    const { blockBytes } = this.digests
    const { changed } = this.#context.source
    const blocks = Math.ceil(chunk.length / blockBytes)
    this.digests.set(chunk.offset / blockBytes, parent.of(chunk.offset / blockBytes, blocks))
    const parts = changed === undefined ? [chunk] : changedParts(chunk, changed, blockBytes)
    for (const part of parts) {
      if (blockBytes <= MiB && (await this.#zeroes.cover(part, call))) {
        this.digests.set(part.offset / blockBytes, zeroDigests(part.length, blockBytes))
        continue
      }
      const bytes = this.#read(part, call, () => {})
      const hashed = hashThreads.hashed(bytes, this.#digestsFrom(part.offset / blockBytes))
      for await (const _ of hashed) call.signal.throwIfAborted()
    }
    for (const part of differingParts(chunk, this.digests, parent)) {
      const source = () => this.#read(part, call, () => {})
      await this.#writeObject(this.#nextName(), part, { source, hashes: [] }, call)
    }
    this.#advance(chunk.length)
  }

  /** The digests of the blocks from one on. */
  #digestsFrom(firstBlock: number): StreamHash {
    return sha256ByBlock(this.digests.blockBytes, (digests) => this.digests.set(firstBlock, digests))
  }

  /**
   * @param from.source the part's bytes, which are read again when the target fails and that may pass
   * @param from.hashes that are taken of them on the way
   */
  async #writeObject(
    name: string,
    part: Chunk,
    from: { readonly source: () => Bytes; readonly hashes: readonly StreamHash[] },
    call: BackupCall,
  ): Promise<void> {
    const { compression, source: volume, store } = this.#context
    const wanted = compressionOf(compression)
    const shrinking = wanted !== 'none' && (await shrinks(volume.device, part.offset, part.length, call))
    const used = shrinking ? wanted : 'none'
    const { attempts = 1, pauseMs = 0 } = store.retries ?? {}
    for (let attempt = 1; ; attempt++) {
      const bytes = watchBytes(from.source())
      try {
        const digests = await this.#putObject(name, { ...from, source: bytes.bytes }, used, part.length, call)
        this.#written({ name, ...part, compression: shrinking ? compression : 'none', ...digests })
        return
      } catch (error) {
        const mayPass = error instanceof BackendError && error.retryAfterMs !== undefined
        if (!mayPass || attempt >= attempts || bytes.threw(error)) throw error
        call.log.warn({ object: name, attempt, error: error.message }, 'an object will be written again')
        await sleep(pauseMs * 2 ** (attempt - 1), call.signal)
      }
    }
  }

  async #putObject(
    name: string,
    { source, hashes }: { readonly source: Bytes; readonly hashes: readonly StreamHash[] },
    compression: Compression,
    length: number,
    call: BackupCall,
  ): Promise<{ md5: string; storedCrc32: string | undefined }> {
    let md5 = ''
    const ofAll = wholeMd5((hex) => {
      md5 = hex
    })
    const hashed = hashThreads.hashed(source, ...hashes, ofAll)
    let storedCrc32: string | undefined
    const stored =
      compression === 'none'
        ? hashed // its MD5 is that of what is stored
        : checksummed(compressed(hashed, compression, length), (hex) => {
            storedCrc32 = hex
          })
    await this.#context.container.put(name, stored, call)
    return { md5, storedCrc32 }
  }

  async *#read(part: Chunk, call: BackupCall, onRead: (bytes: number) => void): Bytes {
    for await (const piece of readStream(
      this.#context.source.device,
      part.offset,
      part.length,
      reads,
      call,
    )) {
      const { byteLength } = piece // before the piece is given away
      yield piece
      onRead(byteLength)
    }
  }

  #nextName(): string {
    return objectName(this.#context.backup.prefix, this.#nextNumber++)
  }

  #written({ name, offset, length, compression, md5, storedCrc32 }: ObjectEntry): void {
    this.objects.push({ name, offset, length, compression: compression.toLowerCase(), md5, storedCrc32 })
    this.#call.onObject?.()
  }

  #advance(bytes: number): void {
    this.#doneBytes += bytes
    this.#call.onProgress(this.#doneBytes)
  }
}

async function* once(bytes: Uint8Array): Bytes {
  yield bytes
}
