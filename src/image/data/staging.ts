import { readdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Bytes } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { NotFound } from '../../kernel/errors.ts'
import { FileStore } from '../stores/file.ts'

const zeroChunkBytes = 65_536
/** What plugins have made, or were making: `<image id>.<step>`. */
const stepPattern = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[a-z.]+$/i

/**
 * Where data waits for its import: one file for each image, under its id. A file is there only when it is whole
 * and on disk. What plugins make of it lies beside it under `<id>.<step>` until it takes its place.
 * @see image-api specification 4.3
 */
export class Staging {
  readonly directory: string
  readonly #files: FileStore

  constructor(directory: string) {
    this.directory = directory
    this.#files = new FileStore({
      directories: [{ path: directory, priority: 0 }],
      thinProvisioning: true, // what is converted to raw has holes
      chunkBytes: zeroChunkBytes,
      fileMode: 0o600,
    })
  }

  /** @throws Misconfigured when the directory cannot be used */
  async start(): Promise<void> {
    await this.#files.start()
  }

  /**
   * Keeps data, durably.
   * @returns its length in bytes
   * @throws Conflict when there is data of that name; NoCapacity; whatever the data's iteration throws
   */
  async write(name: string, data: Bytes, sizeBytes: number | undefined, call: Call): Promise<number> {
    const stored = await this.#files.put(name, data, sizeBytes, call)
    return stored.sizeBytes
  }

  read(name: string, call: Call): Bytes {
    return this.#files.get(this.#url(name), undefined, call)
  }

  /** Bytes; undefined when there is nothing of that name. */
  async size(name: string): Promise<number | undefined> {
    try {
      return await this.#files.size(this.#url(name))
    } catch (error) {
      if (error instanceof NotFound) return undefined
      throw error
    }
  }

  /** Already gone: fine. */
  async remove(name: string): Promise<void> {
    await this.#files.delete(this.#url(name))
  }

  /** Gives a file, with whatever a tool wrote into it, another name. */
  async move(from: string, to: string): Promise<void> {
    await rename(this.path(from), this.path(to))
  }

  /** For tools that read and write files. */
  path(name: string): string {
    return join(this.directory, name)
  }

  async freeBytes(): Promise<number> {
    return (await this.#files.capacity()).freeBytes
  }

  /** Removes what is there of images that nobody waits for any more. Names that are no ids are left alone. */
  async sweep(isAwaited: (imageId: string) => Promise<boolean>, call: Call): Promise<void> {
    await this.#files.sweep(isAwaited, call)
    for (const name of await readdir(this.directory)) {
      const imageId = stepPattern.exec(name)?.[1]
      if (imageId !== undefined && !(await isAwaited(imageId))) await this.remove(name)
    }
  }

  #url(name: string): string {
    return pathToFileURL(this.path(name)).href
  }
}
