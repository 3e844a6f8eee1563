import { randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { MediumRow } from '../database/rows.ts'
import { messageOf } from '../errors.ts'
import { ThinStore } from '../store/thin-store.ts'

export type MediaKind = 'flash' | 'hdd'

/** A directory for data, and what it lies on. */
export interface DataDirectory {
  readonly path: string
  readonly media: MediaKind
}

/** What says which medium a directory is. */
export interface Label {
  readonly id: string
  readonly system: string
}

/** The directory is not there, cannot be read, or is another's. */
export class MediumError extends Error {
  override readonly name = 'MediumError'
}

/**
 * A directory with one copy of each volume that is placed there: `medium.json` says which one it is, `store/` holds the
 * data. It may go missing, and come back.
 */
export class Medium {
  readonly id: string
  readonly path: string
  readonly kind: MediaKind
  readonly #system: string
  #store: ThinStore | undefined
  /** Why it is missing; undefined while it is there. */
  failure: string | undefined = 'not opened yet'

  private constructor(id: string, directory: DataDirectory, system: string) {
    this.id = id
    this.path = directory.path
    this.kind = directory.media
    this.#system = system
  }

  /**
   * Finds out which medium a directory is; one without a label is a new one, and gets a label.
   * @param system uuid of the system that it belongs to
   * @param known id of the medium that was at this path before, for a directory that is not there
   * @throws MediumError when there is no telling
   */
  static async at(directory: DataDirectory, system: string, known: string | undefined): Promise<Medium> {
    const file = join(directory.path, 'medium.json')
    try {
      if (!existsSync(directory.path) && known !== undefined) return new Medium(known, directory, system)
      mkdirSync(directory.path, { recursive: true, mode: 0o700 })
      if (!existsSync(file)) {
        const label: Label = { id: randomUUID(), system }
        await writeFile(file, `${JSON.stringify(label)}\n`, { mode: 0o600, flush: true })
      }
      return new Medium(readLabel(file).id, directory, system)
    } catch (error) {
      if (known !== undefined) return new Medium(known, directory, system)
      throw new MediumError(`cannot use the data directory ${directory.path}: ${messageOf(error)}`, {
        cause: error,
      })
    }
  }

  /** A medium that the node had before, whether it is there or not. */
  static known({ id, path, kind }: MediumRow, system: string): Medium {
    return new Medium(id, { path, media: kind }, system)
  }

  /** The store; undefined while the medium is missing. */
  get store(): ThinStore | undefined {
    return this.#store
  }

  /** Opens the store, without work in the background. @throws what is in the way */
  async open(): Promise<ThinStore> {
    this.#verify()
    this.#store = await ThinStore.open({ directory: join(this.path, 'store'), paused: true })
    this.failure = undefined
    return this.#store
  }

  /** Why the directory is no longer what it was; undefined when it is. */
  problem(): string | undefined {
    try {
      this.#verify()
      statSync(join(this.path, 'store', 'catalog.sqlite'))
      return undefined
    } catch (error) {
      return messageOf(error)
    }
  }

  /** Number of the filesystem, for media that share one. */
  get filesystem(): number {
    return statSync(this.path).dev
  }

  /** Takes the medium out of use. What is open there fails. */
  async fail(reason: string): Promise<void> {
    const store = this.#store
    this.failure = reason
    this.#store = undefined
    await store?.[Symbol.asyncDispose]().catch(() => undefined)
  }

  async close(): Promise<void> {
    const store = this.#store
    this.#store = undefined
    this.failure = 'closed'
    await store?.[Symbol.asyncDispose]()
  }

  #verify(): void {
    const label = readLabel(join(this.path, 'medium.json'))
    if (label.system !== this.#system) throw new MediumError(`${this.path} belongs to another system`)
    if (label.id !== this.id) throw new MediumError(`${this.path} is another medium than before`)
  }
}

/** What a data directory says that it is. @throws what is in the way */
export function readLabel(file: string): Label {
  const label: Partial<Label> = JSON.parse(readFileSync(file, 'utf8'))
  if (typeof label.id !== 'string' || typeof label.system !== 'string') {
    throw new MediumError(`${file} is no label of a medium`)
  }
  return { id: label.id, system: label.system }
}
