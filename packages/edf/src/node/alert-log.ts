import { randomUUID } from 'node:crypto'
import type { Alert } from '../schemas/event.ts'
import type { Database } from './database/database.ts'
import type { AlertRow } from './database/rows.ts'
import { timestampOf } from './snapshot-clock.ts'

/** Alerts that are over are kept up to this number. */
const keptCleared = 1000

/** What is wrong and stays wrong until somebody, or the thing itself, clears it. */
export class AlertLog {
  readonly #database: Database

  constructor(database: Database) {
    this.#database = database
  }

  /** Raises an alert, or counts one up that stands already. */
  raise(alert: Pick<AlertRow, 'code' | 'severity' | 'description' | 'tenant' | 'object_path'>): void {
    const now = timestampOf(new Date())
    this.#database.run(
      `INSERT INTO alert (uuid, code, severity, description, tenant, object_path, raised, last_seen)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (code, object_path) WHERE cleared = 0 DO UPDATE SET
         last_seen = excluded.last_seen, repeat_count = repeat_count + 1, severity = excluded.severity,
         description = excluded.description`,
      randomUUID(),
      alert.code,
      alert.severity,
      alert.description,
      alert.tenant,
      alert.object_path,
      now,
      now,
    )
  }

  /** The reason has gone: of all alerts of a code, except those of these objects. */
  settle(code: string, except: readonly string[] = []): void {
    this.#database.run(
      `UPDATE alert SET cleared = 1 WHERE code = ? AND cleared = 0
       AND object_path NOT IN (SELECT value FROM json_each(?))`,
      code,
      JSON.stringify(except),
    )
    this.#database.run(
      `DELETE FROM alert WHERE cleared = 1 AND seq <= (SELECT max(seq) FROM alert) - ?`,
      keptCleared,
    )
  }

  /** In the order in which they were raised. Of one tenant and those below it. */
  list(tenant: string): Alert[] {
    return this.#database
      .all<AlertRow>(
        `SELECT * FROM alert WHERE tenant = ? OR tenant LIKE ? || '/%' ORDER BY seq`,
        tenant,
        tenant,
      )
      .map(view)
  }

  find(uuid: string, tenant: string): Alert | undefined {
    return this.list(tenant).find((alert) => alert.uuid === uuid)
  }

  /** Those whose last change was not sent to the monitoring destination yet, the oldest first. */
  untold(limit: number): Alert[] {
    // What began and ended unseen is of no interest any more.
    this.#database.run('UPDATE alert SET told = 2 WHERE told = 0 AND cleared = 1')
    return this.#database
      .all<AlertRow>('SELECT * FROM alert WHERE told <= cleared ORDER BY seq LIMIT ?', limit)
      .map(view)
  }

  /** It was sent, as it was then. */
  told({ uuid, cleared }: Pick<Alert, 'uuid' | 'cleared'>): void {
    this.#database.run('UPDATE alert SET told = ? WHERE uuid = ?', cleared ? 2 : 1, uuid)
  }

  setCleared(uuid: string, cleared: boolean): void {
    this.#database.run('UPDATE OR IGNORE alert SET cleared = ? WHERE uuid = ?', cleared ? 1 : 0, uuid)
  }
}

function view(row: AlertRow): Alert {
  return {
    path: `/alerts/${row.uuid}`,
    uuid: row.uuid,
    id: row.uuid,
    code: row.code,
    severity: row.severity,
    description: row.description,
    message: row.description,
    tenant: row.tenant,
    object_path: row.object_path,
    time: row.raised,
    last_seen_ts: row.last_seen,
    repeat_count: row.repeat_count,
    cleared: row.cleared === 1,
  }
}
