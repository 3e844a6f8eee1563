import { type Bytes, GiB, KiB, MiB } from '../../kernel/bytes.ts'
import { integer } from '../../kernel/config/options.ts'
import { NotFound } from '../../kernel/errors.ts'
import { defineBackupDriver } from '../backup-driver.ts'
import type { BlobContainer, BlobPlace, BlobStore } from './chunked/blob-store.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { type ChunkedSettings, chunkedOptions } from './chunked/options.ts'

/** Blobs in the memory of this process: for tests and for a look round. Nothing survives the process. */
export class MemoryBlobStore implements BlobStore {
  readonly chunkBytes: number
  readonly blockBytes: number
  readonly lanes = 2
  /** By container and name. */
  readonly blobs = new Map<string, Uint8Array>()

  constructor(options: { chunkBytes: number; blockBytes: number }) {
    this.chunkBytes = options.chunkBytes
    this.blockBytes = options.blockBytes
  }

  async start(): Promise<void> {}

  place({ id, container }: { id: string; container: string | undefined }) {
    return { container: container ?? 'volumebackups', prefix: `backup_${id}` }
  }

  async open({ container, prefix }: BlobPlace): Promise<BlobContainer> {
    const { blobs } = this
    return {
      async put(name: string, data: Bytes) {
        const parts: Uint8Array[] = []
        for await (const part of data) parts.push(Uint8Array.from(part))
        blobs.set(`${container}/${name}`, Buffer.concat(parts))
      },
      async *get(name: string): Bytes {
        const blob = blobs.get(`${container}/${name}`)
        if (blob === undefined) throw new NotFound(`There is no ${name} in ${container}.`)
        for (let at = 0; at < blob.byteLength; at += MiB) yield blob.slice(at, at + MiB)
      },
      list: async () => this.#names(container, prefix),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async remove({ container, prefix }: BlobPlace): Promise<void> {
    for (const name of this.#names(container, prefix)) this.blobs.delete(`${container}/${name}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #names(container: string, prefix: string): string[] {
    const names = [...this.blobs.keys()].filter((key) => key.startsWith(`${container}/${prefix}`))
    return names.map((key) => key.slice(container.length + 1))
  }
}

interface MemorySettings extends ChunkedSettings {
  readonly chunkBytes: number
}

export default defineBackupDriver<MemorySettings>({
  name: 'memory',
  aliases: ['cinder.tests.unit.backup.fake_service.FakeBackupService'],
  options: {
    ...chunkedOptions,
    chunkBytes: integer('backup_memory_object_size', {
      help: 'Most bytes of a volume in one object.',
      default: 64 * MiB,
      min: 32 * KiB,
      max: GiB,
    }),
  },
  create: (settings) =>
    chunkedBackupDriver(
      new MemoryBlobStore({ chunkBytes: settings.chunkBytes, blockBytes: 32 * KiB }),
      settings,
    ),
})
