import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'

/** Who may reach a volume, as it is kept over restarts. */
export interface AccessRecord {
  /** Names of the initiators that were let in. */
  readonly initiators: readonly string[]
  /** What they log in with. */
  readonly chap: { readonly username: string; readonly password: string } | undefined
}

/**
 * One small file for each volume that somebody is attached to. A record is replaced as a whole: after a crash it is
 * the old or the new one.
 */
export class AccessRecords {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async prepare(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
  }

  /** Keys of the volumes that have a record. */
  async keys(): Promise<readonly string[]> {
    const names = await readdir(this.#directory)
    return names.filter((name) => name.endsWith(suffix)).map((name) => name.slice(0, -suffix.length))
  }

  async read(key: string): Promise<AccessRecord | undefined> {
    try {
      // Only `write` makes these files.
      return JSON.parse(await readFile(this.#path(key), 'utf8')) as AccessRecord
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Durable when it resolves. */
  async write(key: string, record: AccessRecord): Promise<void> {
    const path = this.#path(key)
    const half = `${path}.new`
    const file = await open(half, 'w', 0o600)
    try {
      await file.writeFile(JSON.stringify(record))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(half, path)
    await this.#sync()
  }

  /** Not there: fine. */
  async remove(key: string): Promise<void> {
    await rm(this.#path(key), { force: true })
    await this.#sync()
  }

  async #sync(): Promise<void> {
    const directory = await open(this.#directory)
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }

  #path(key: string): string {
    return join(this.#directory, `${encodeURIComponent(key)}${suffix}`)
  }
}

const suffix = '.json'
