import { randomUUID } from 'node:crypto'
import type { Kysely } from 'kysely'
import { messageOf } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { ImageTables } from '../db/tables.ts'

/** How long an upload counts as alive after its last sign of life, in milliseconds. */
const aliveMs = 60_000
/** Between two signs of life, in milliseconds. */
const signMs = 15_000

/** An upload that is running in this process. */
export interface RunningUpload extends Disposable {
  readonly id: string
  readonly aliveUntil: string
}

/**
 * Knows the uploads of this process and keeps their rows alive, so that another process can tell them from those
 * of one that died.
 */
export class Uploads {
  readonly #db: Kysely<ImageTables>
  readonly #log: Logger
  readonly #now: () => Date
  readonly #running = new Set<string>()
  #timer: NodeJS.Timeout | undefined

  constructor(db: Kysely<ImageTables>, log: Logger, now: () => Date) {
    this.#db = db
    this.#log = log
    this.#now = now
  }

  /** Ids of the uploads of this process. */
  get running(): readonly string[] {
    return [...this.#running]
  }

  begin(): RunningUpload {
    const id = randomUUID()
    this.#running.add(id)
    this.#timer ??= setInterval(() => void this.#signOfLife(), signMs).unref()
    return {
      id,
      aliveUntil: this.#aliveUntil(),
      [Symbol.dispose]: () => {
        this.#running.delete(id)
        if (this.#running.size > 0) return
        clearInterval(this.#timer)
        this.#timer = undefined
      },
    }
  }

  #aliveUntil(): string {
    return new Date(this.#now().getTime() + aliveMs).toISOString()
  }

  async #signOfLife(): Promise<void> {
    try {
      await this.#db
        .updateTable('images')
        .set({ upload_alive_until: this.#aliveUntil() })
        .where('upload_id', 'in', this.running)
        .execute()
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'a sign of life of uploads could not be written')
    }
  }
}
