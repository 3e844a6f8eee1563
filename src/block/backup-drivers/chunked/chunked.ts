import type { BlockDevice } from '@emberglass/iscsi/device'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Misconfigured, messageOf, NotFound } from '../../../kernel/errors.ts'
import type {
  BackupCall,
  BackupDriver,
  BackupPlan,
  BackupResult,
  BackupSource,
  NewBackup,
  Placement,
  StoredBackup,
} from '../../backup-driver.ts'
import { type BlobContainer, type BlobStore, DamagedBlob } from './blob-store.ts'
import type { BlockDigests } from './block-digests.ts'
import { metadataName, readMetadata, readSha256File } from './documents.ts'
import { type EncryptionKey, encryptedBlobs, readEncryptionKey } from './encrypted-blobs.ts'
import type { ChunkedSettings } from './options.ts'
import { deviceSink, nowhere, readBackup, type Sink } from './read-backup.ts'
import { writeBackup } from './write-backup.ts'

/**
 * Makes a backup driver of any store of blobs: cuts a volume into objects, hashes, compresses and encrypts them, and
 * keeps of an incremental backup only what differs from its parent. The layout is that of Cinder's chunked drivers,
 * both ways, unless objects are encrypted.
 * @see cinder/backup/chunkeddriver.py
 */
export function chunkedBackupDriver(store: BlobStore, settings: ChunkedSettings): BackupDriver {
  return new ChunkedBackupDriver(store, settings)
}

class ChunkedBackupDriver implements BackupDriver {
  readonly #store: BlobStore
  readonly #settings: ChunkedSettings
  #key: EncryptionKey | undefined

  constructor(store: BlobStore, settings: ChunkedSettings) {
    this.#store = store
    this.#settings = settings
  }

  async start(call: Call): Promise<void> {
    const { chunkBytes, blockBytes } = this.#store
    if (blockBytes < 1 || chunkBytes % blockBytes !== 0) {
      throw new Misconfigured(
        `Chunk size (${chunkBytes}) is not multiple of block size for creating hash (${blockBytes}).`,
      )
    }
    if (this.#settings.encryptionKeyFile !== undefined) {
      this.#key = await readEncryptionKey(this.#settings.encryptionKeyFile)
    }
    await this.#store.start(call)
  }

  place(plan: BackupPlan): Placement {
    return { ...this.#store.place(plan), encrypted: this.#settings.encryptionKeyFile !== undefined }
  }

  async backup(backup: NewBackup, from: BackupSource, call: BackupCall): Promise<BackupResult> {
    await this.#store.remove(backup, call)
    const parent = backup.parent === undefined ? undefined : await this.#digestsOf(backup.parent, call)
    await using container = await this.#open(backup, 'write', call)
    const context = { store: this.#store }
    const { compression } = this.#settings
    return await writeBackup({ ...context, container, compression, backup, source: from, parent }, call)
  }

  async restore(
    chain: readonly StoredBackup[],
    into: BlockDevice,
    options: { readonly targetIsZeroed: boolean },
    call: BackupCall,
  ): Promise<readonly string[]> {
    return await this.#read(chain, (level) => deviceSink(into, level === 0 && options.targetIsZeroed), call)
  }

  async verify(chain: readonly StoredBackup[], call: BackupCall): Promise<void> {
    await this.#read(chain, () => nowhere, call)
  }

  async find(backup: StoredBackup, call: Call): Promise<void> {
    await using container = await this.#open(backup, 'read', call)
    const name = metadataName(backup.prefix)
    try {
      await readMetadata(container, backup, call)
    } catch (error) {
      if (!(error instanceof DamagedBlob)) throw error
      const message = `Object ${name} of container ${backup.container} is damaged: ${messageOf(error)}.`
      throw new BackendError(message, { left: 'nothing', cause: error })
    }
  }

  async delete(backup: StoredBackup, call: Call): Promise<void> {
    await this.#store.remove(backup, call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]()
  }

  /** Reads the levels of a chain one after the other. */
  async #read(
    chain: readonly StoredBackup[],
    sinkOf: (level: number) => Sink,
    call: BackupCall,
  ): Promise<readonly string[]> {
    const facts: string[] = []
    let before = 0
    for (const [level, backup] of chain.entries()) {
      await using container = await this.#open(backup, 'read', call)
      let done = 0
      const onProgress = (doneBytes: number) => {
        done = doneBytes
        call.onProgress(before + doneBytes)
      }
      const { volumeMetadata } = await readBackup(
        { container, backup, lanes: this.#store.lanes, sink: sinkOf(level) },
        { ...call, onProgress },
      )
      before += done
      if (volumeMetadata !== undefined) facts.push(volumeMetadata)
    }
    return facts
  }

  async #digestsOf(parent: StoredBackup, call: Call): Promise<BlockDigests> {
    await using container = await this.#open(parent, 'read', call)
    try {
      const { sha256FileSha256 } = await readMetadata(container, parent, call)
      return await readSha256File(container, parent, sha256FileSha256, call)
    } catch (error) {
      if (!(error instanceof DamagedBlob) && !(error instanceof NotFound)) throw error
      throw new BackendError(
        `The parent backup ${parent.id} in container ${parent.container} cannot be read: ${messageOf(error)}. Do a full backup.`,
        { left: 'nothing', cause: error },
      )
    }
  }

  async #open(backup: StoredBackup, mode: 'read' | 'write', call: Call): Promise<BlobContainer> {
    if (backup.encrypted && this.#key === undefined) {
      throw new Misconfigured(`Backup ${backup.id} is encrypted, and backup_encryption_key_file is not set.`)
    }
    const container = await this.#store.open(backup, mode, call)
    return backup.encrypted && this.#key !== undefined ? encryptedBlobs(container, this.#key) : container
  }
}
