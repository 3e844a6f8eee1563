import { randomUUID } from 'node:crypto'
import type { Event } from '../schemas/event.ts'
import type { Database } from './database/database.ts'
import type { EventRow } from './database/rows.ts'
import { timestampOf } from './snapshot-clock.ts'

/** Older events make room for newer ones. */
const kept = 10_000
/** How long a noted event may wait to be written, milliseconds. */
const delayMs = 1000
const maximumNoted = 500

export interface NewEvent {
  readonly kind: EventRow['kind']
  /** `VOLUME_CREATED` and the like. */
  readonly code: string
  readonly description: string
  readonly tenant: string
  readonly objectPath: string
  readonly severity?: 'info' | 'warning' | 'critical'
  readonly context?: Readonly<Record<string, unknown>>
}

interface Noted {
  readonly event: NewEvent
  readonly time: string
  lastSeen: string
  repeats: number
}

/** What happened (`system`), and what users did (`user`). */
export class EventLog {
  readonly #database: Database
  #noted: Noted[] = []
  #timer: NodeJS.Timeout | undefined
  #sinceTrim = 0

  constructor(database: Database) {
    this.#database = database
  }

  /** Joins the caller's transaction, so that an event tells of what really was done. */
  record(event: NewEvent): void {
    const time = timestampOf(new Date())
    this.#write({ event, time, lastSeen: time, repeats: 1 })
  }

  /**
   * For what happens often: written within a second, together with others. The same thing again is counted up
   * instead. A process that is killed may lose the last second of it.
   */
  note(event: NewEvent): void {
    const time = timestampOf(new Date())
    const same = this.#noted.find((noted) => isSame(noted.event, event))
    if (same !== undefined) {
      same.repeats++
      same.lastSeen = time
      return
    }
    this.#noted.push({ event, time, lastSeen: time, repeats: 1 })
    if (this.#noted.length >= maximumNoted) this.flush()
    else this.#timer ??= setTimeout(() => this.flush(), delayMs).unref()
  }

  /** Writes what was noted. */
  flush(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const noted = this.#noted
    this.#noted = []
    if (noted.length === 0) return
    this.#database.transaction(() => {
      for (const each of noted) this.#write(each)
    })
  }

  /** In order of time. Of one tenant and those below it. */
  list(kind: EventRow['kind'], tenant: string): Event[] {
    this.flush()
    return this.#database
      .all<EventRow>(
        `SELECT * FROM event WHERE kind = ? AND (tenant = ? OR tenant LIKE ? || '/%') ORDER BY seq`,
        kind,
        tenant,
        tenant,
      )
      .map(view)
  }

  find(uuid: string, tenant: string): Event | undefined {
    this.flush()
    const row = this.#database.get<EventRow>(
      `SELECT * FROM event WHERE uuid = ? AND (tenant = ? OR tenant LIKE ? || '/%')`,
      uuid,
      tenant,
      tenant,
    )
    return row && view(row)
  }

  #write({ event, time, lastSeen, repeats }: Noted): void {
    this.#database.run(
      `INSERT INTO event (uuid, kind, time, last_seen, repeat_count, code, severity, description, tenant, object_path,
         context)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      randomUUID(),
      event.kind,
      time,
      lastSeen,
      repeats,
      event.code,
      event.severity ?? 'info',
      event.description,
      event.tenant,
      event.objectPath,
      JSON.stringify(event.context ?? {}),
    )
    if (++this.#sinceTrim >= 100) {
      this.#sinceTrim = 0
      this.#database.run('DELETE FROM event WHERE seq <= (SELECT max(seq) FROM event) - ?', kept)
    }
  }
}

function isSame(a: NewEvent, b: NewEvent): boolean {
  return a.code === b.code && a.objectPath === b.objectPath && a.description === b.description
}

function view(row: EventRow): Event {
  return {
    uuid: row.uuid,
    time: row.time,
    last_seen_ts: row.last_seen,
    code: row.code,
    severity: row.severity,
    description: row.description,
    message: row.description,
    context: row.context,
    debug: '',
    repeat_count: row.repeat_count,
    tenant: row.tenant,
    object_path: row.object_path,
  }
}
