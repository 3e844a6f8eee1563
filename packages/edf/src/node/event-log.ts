import { randomUUID } from 'node:crypto'
import type { Event } from '../schemas/event.ts'
import type { Database } from './database/database.ts'
import type { EventRow } from './database/rows.ts'
import { timestampOf } from './snapshot-clock.ts'

/** Older events make room for newer ones. */
const kept = 10_000

/** What happened (`system`), and what users did (`user`). */
export class EventLog {
  readonly #database: Database
  #sinceTrim = 0

  constructor(database: Database) {
    this.#database = database
  }

  /** Joins the caller's transaction, so that an event tells of what really was done. */
  record(event: {
    readonly kind: EventRow['kind']
    /** `VOLUME_CREATED` and the like. */
    readonly code: string
    readonly description: string
    readonly tenant: string
    readonly objectPath: string
    readonly severity?: 'info' | 'warning' | 'critical'
    readonly context?: Readonly<Record<string, unknown>>
  }): void {
    this.#database.run(
      `INSERT INTO event (uuid, kind, time, code, severity, description, tenant, object_path, context)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      randomUUID(),
      event.kind,
      timestampOf(new Date()),
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

  /** In order of time. Of one tenant and those below it. */
  list(kind: EventRow['kind'], tenant: string): Event[] {
    return this.#database
      .all<EventRow>(
        `SELECT * FROM event WHERE kind = ? AND (tenant = ? OR tenant LIKE ? || '/%') ORDER BY seq`,
        kind,
        tenant,
        tenant,
      )
      .map(view)
  }

  find(uuid: string): Event | undefined {
    const row = this.#database.get<EventRow>('SELECT * FROM event WHERE uuid = ?', uuid)
    return row && view(row)
  }
}

function view(row: EventRow): Event {
  return {
    uuid: row.uuid,
    time: row.time,
    last_seen_ts: row.time,
    code: row.code,
    severity: row.severity,
    description: row.description,
    message: row.description,
    context: row.context,
    debug: '',
    repeat_count: 1,
    tenant: row.tenant,
    object_path: row.object_path,
  }
}
