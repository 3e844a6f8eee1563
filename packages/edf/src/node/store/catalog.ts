import { DatabaseSync, type SQLOutputValue } from 'node:sqlite'
import { CorruptStoreError, NoSpaceError, StoreLockedError } from './errors.ts'

/** A layer's row. `id` is never used twice, not even after a delete. */
export interface LayerRow {
  readonly id: number
  readonly parent: number | undefined
  /** Whether its files were ever made durable; they must exist then. */
  readonly written: boolean
  /** Blocks in its data file; exact for frozen layers, and for all after a clean close. */
  readonly usedBlocks: number
  /** Whether every block of it has a checksum. */
  readonly summed: boolean
}

/** A volume's or snapshot's row. */
export interface EntryRow {
  readonly id: string
  readonly kind: 'volume' | 'snapshot'
  readonly layer: number
  readonly sizeBytes: number
  readonly origin: string | undefined
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS layers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER REFERENCES layers (id),
    written INTEGER NOT NULL DEFAULT 0,
    used_blocks INTEGER NOT NULL DEFAULT 0,
    summed INTEGER NOT NULL DEFAULT 1
  ) STRICT;
  CREATE INDEX IF NOT EXISTS layers_parent ON layers (parent);
  CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('volume', 'snapshot')),
    layer INTEGER NOT NULL REFERENCES layers (id),
    size_bytes INTEGER NOT NULL,
    origin TEXT
  ) STRICT;
  CREATE INDEX IF NOT EXISTS entries_layer ON entries (layer);
  CREATE TABLE IF NOT EXISTS state (clean INTEGER NOT NULL) STRICT;`

const FORMAT = 2
/** The first format had no checksums. */
const UPGRADE =
  'ALTER TABLE layers ADD COLUMN summed INTEGER NOT NULL DEFAULT 1; UPDATE layers SET summed = 0;'
const SQLITE_BUSY = 5
const SQLITE_FULL = 13
/** A killed predecessor may take a moment to be gone. */
const LOCK_TIMEOUT_MS = 500

/**
 * The graph of layers and who uses them, in one SQLite file (WAL, synchronous=FULL).
 *
 * A snapshot, clone, revert or merge changes several rows that only make sense together. As one transaction that is a
 * single append and a single fsync; as one JSON file per layer it would need an order of renames, and a repair step
 * for every place a crash can fall between two of them. SQLite's exclusive lock is also the lock of the directory: the
 * kernel drops it with the process. A commit blocks the event loop for one fsync, and happens per management call,
 * never per write.
 */
export class Catalog implements Disposable {
  readonly #db: DatabaseSync

  private constructor(db: DatabaseSync) {
    this.#db = db
  }

  /**
   * Opens or makes the file, and keeps it locked until disposed.
   * @throws StoreLockedError when somebody else has it open
   * @throws CorruptStoreError when it is of an unknown format
   */
  static open(path: string): Catalog {
    const db = new DatabaseSync(path, { timeout: LOCK_TIMEOUT_MS })
    try {
      db.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
      db.exec('PRAGMA foreign_keys = ON; BEGIN EXCLUSIVE')
      const { user_version: version } = db.prepare('PRAGMA user_version').get() ?? {}
      if (version !== 0 && version !== 1 && version !== FORMAT) {
        throw new CorruptStoreError(`${path} has format ${version}, and this program knows up to ${FORMAT}`)
      }
      if (version === 1) db.exec(UPGRADE)
      db.exec(`${SCHEMA} PRAGMA user_version = ${FORMAT}; COMMIT`)
      return new Catalog(db)
    } catch (error) {
      db.close()
      if (error instanceof Error && 'errcode' in error && error.errcode === SQLITE_BUSY) {
        throw new StoreLockedError(`${path} is in use by another process`, error)
      }
      throw error
    }
  }

  layers(): LayerRow[] {
    return this.#db
      .prepare('SELECT id, parent, written, used_blocks, summed FROM layers ORDER BY id')
      .all()
      .map((row) => ({
        id: Number(row['id']),
        parent: row['parent'] === null ? undefined : Number(row['parent']),
        written: row['written'] === 1,
        usedBlocks: Number(row['used_blocks']),
        summed: row['summed'] === 1,
      }))
  }

  entries(): EntryRow[] {
    return this.#db
      .prepare('SELECT id, kind, layer, size_bytes, origin FROM entries ORDER BY rowid')
      .all()
      .map((row) => ({
        id: text(row['id']),
        kind: row['kind'] === 'volume' ? 'volume' : 'snapshot',
        layer: Number(row['layer']),
        sizeBytes: Number(row['size_bytes']),
        origin: row['origin'] === null ? undefined : text(row['origin']),
      }))
  }

  /**
   * Runs `change` whole or not at all; it is durable when this returns. Not to be nested.
   * @throws NoSpaceError when the filesystem has no room for it; then nothing has changed
   */
  transaction<T>(change: () => T): T {
    this.#db.exec('BEGIN')
    try {
      const result = change()
      this.#db.exec('COMMIT')
      return result
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK')
      throw isFull(error) ? new NoSpaceError('the catalog of the store has no room', error) : error
    }
  }

  /** @returns the new layer's id */
  addLayer(parent: number | undefined): number {
    const { lastInsertRowid } = this.#db.prepare('INSERT INTO layers (parent) VALUES (?)').run(parent ?? null)
    return Number(lastInsertRowid)
  }

  updateLayer(layer: LayerRow): void {
    this.#db
      .prepare('UPDATE layers SET parent = ?, written = ?, used_blocks = ?, summed = ? WHERE id = ?')
      .run(layer.parent ?? null, Number(layer.written), layer.usedBlocks, Number(layer.summed), layer.id)
  }

  removeLayer(id: number): void {
    this.#db.prepare('DELETE FROM layers WHERE id = ?').run(id)
  }

  addEntry(entry: EntryRow): void {
    this.#db
      .prepare('INSERT INTO entries (id, kind, layer, size_bytes, origin) VALUES (?, ?, ?, ?, ?)')
      .run(entry.id, entry.kind, entry.layer, entry.sizeBytes, entry.origin ?? null)
  }

  updateEntry(id: string, layer: number, sizeBytes: number): void {
    this.#db.prepare('UPDATE entries SET layer = ?, size_bytes = ? WHERE id = ?').run(layer, sizeBytes, id)
  }

  removeEntry(id: string): void {
    this.#db.prepare('DELETE FROM entries WHERE id = ?').run(id)
  }

  /** Whether the last process closed the store, so that all counts are exact. */
  get clean(): boolean {
    return this.#db.prepare('SELECT clean FROM state').get()?.['clean'] === 1
  }

  set clean(clean: boolean) {
    this.#db.exec(`DELETE FROM state; INSERT INTO state (clean) VALUES (${Number(clean)})`)
  }

  /** SQLite's own check of the file. @returns what is wrong; nothing when all is well */
  problems(): string[] {
    return this.#db
      .prepare('PRAGMA integrity_check')
      .all()
      .map((row) => text(row['integrity_check']))
      .filter((line) => line !== 'ok')
  }

  [Symbol.dispose](): void {
    this.#db.close()
  }
}

function isFull(error: unknown): boolean {
  return error instanceof Error && 'errcode' in error && error.errcode === SQLITE_FULL
}

function text(value: SQLOutputValue | undefined): string {
  if (typeof value !== 'string') throw new CorruptStoreError('the catalog holds a value that is not text')
  return value
}
