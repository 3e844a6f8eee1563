import type { Database } from '../database/database.ts'
import type { CopyRow, MediumRow } from '../database/rows.ts'
import type { Medium } from './medium.ts'

/** Which volume has copies on which media, durably: a copy that has missed a write is known to, whatever happens. */
export class CopyTable {
  readonly #database: Database
  /** What the table holds, by volume: views ask for thousands. */
  #rows = new Map<string, CopyRow[]>()

  constructor(database: Database) {
    this.#database = database
    this.#loadAll()
  }

  /** Id of the medium that was last at a path. */
  mediumAt(path: string): string | undefined {
    return this.#database.get<MediumRow>('SELECT * FROM medium WHERE path = ? ORDER BY rowid DESC', path)?.id
  }

  saveMedium({ id, path, kind }: Medium): void {
    this.#database.run(
      `INSERT INTO medium (id, path, kind) VALUES (?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET path = excluded.path, kind = excluded.kind`,
      id,
      path,
      kind,
    )
  }

  of(storeId: string): readonly CopyRow[] {
    return this.#rows.get(storeId) ?? []
  }

  /** Volumes that have copies. */
  ids(): string[] {
    return [...this.#rows.keys()]
  }

  save(storeId: string, medium: string, state: CopyRow['state']): void {
    this.#database.run(
      `INSERT INTO copy (store_id, medium, state) VALUES (?, ?, ?)
       ON CONFLICT (store_id, medium) DO UPDATE SET state = excluded.state, resync = '[]'`,
      storeId,
      medium,
      state,
    )
    this.#load(storeId)
  }

  setResync(storeId: string, medium: string, regions: readonly number[]): void {
    this.#database.run(
      'UPDATE copy SET resync = ? WHERE store_id = ? AND medium = ?',
      JSON.stringify(regions),
      storeId,
      medium,
    )
    this.#load(storeId)
  }

  remove(storeId: string, medium?: string): void {
    if (medium === undefined) this.#database.run('DELETE FROM copy WHERE store_id = ?', storeId)
    else this.#database.run('DELETE FROM copy WHERE store_id = ? AND medium = ?', storeId, medium)
    this.#load(storeId)
  }

  /** Copies on missing media have missed something from now on, where another copy goes on without them. */
  outdate(present: readonly string[]): void {
    this.#database.run(
      `UPDATE copy SET state = 'stale' WHERE state = 'current'
       AND medium NOT IN (SELECT value FROM json_each(?1))
       AND EXISTS (SELECT 1 FROM copy other WHERE other.store_id = copy.store_id AND other.state = 'current'
                   AND other.medium IN (SELECT value FROM json_each(?1)))`,
      JSON.stringify(present),
    )
    this.#loadAll()
  }

  #load(storeId: string): void {
    const rows = this.#database.all<CopyRow>('SELECT * FROM copy WHERE store_id = ?', storeId)
    if (rows.length === 0) this.#rows.delete(storeId)
    else this.#rows.set(storeId, rows)
  }

  #loadAll(): void {
    this.#rows = Map.groupBy(this.#database.all<CopyRow>('SELECT * FROM copy'), (row) => row.store_id)
  }
}
