import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import { EdfNodeStartError, errorCode, messageOf } from '../errors.ts'
import { migrations } from './migrations.ts'

/**
 * The node's metadata. Write-ahead log with full synchronisation: what a transaction wrote survives a power loss once
 * it has returned. The file is locked for as long as it is open, by the system, so that the lock dies with the
 * process. Calls are synchronous: keep them small.
 */
export class Database {
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  /** @throws EdfNodeStartError `EDIRLOCKED` when another process has it open, `EDIRDAMAGED` when it is no database */
  constructor(file: string) {
    this.#database = openLocked(file)
    try {
      this.#migrate()
    } catch (error) {
      this.#database.close()
      throw error
    }
  }

  /** Rows of a query, as the shape that its SQL names. */
  all<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Row[] {
    // The caller's Row repeats the columns of its SQL; SQLite cannot tell us their types.
    return this.#statement(sql).all(...parameters) as unknown as Row[]
  }

  get<Row>(sql: string, ...parameters: readonly SQLInputValue[]): Row | undefined {
    // As above.
    return this.#statement(sql).get(...parameters) as unknown as Row | undefined
  }

  /** Number of rows changed. */
  run(sql: string, ...parameters: readonly SQLInputValue[]): number {
    return Number(this.#statement(sql).run(...parameters).changes)
  }

  /** Runs synchronous work in one transaction; inside another it joins that one. */
  transaction<Result>(work: () => Result): Result {
    if (this.#database.isTransaction) return work()
    this.#database.exec('BEGIN IMMEDIATE')
    try {
      const result = work()
      this.#database.exec('COMMIT')
      return result
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw error
    }
  }

  close(): void {
    this.#statements.clear()
    this.#database.close()
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  #migrate(): void {
    const row = this.get<{ user_version: number }>('PRAGMA user_version')
    const version = row?.user_version ?? 0
    if (version > migrations.length) {
      throw new EdfNodeStartError(
        'EDIRDAMAGED',
        `the metadata was written by a newer version of the node (format ${version}, this one knows ${migrations.length})`,
      )
    }
    migrations.slice(version).forEach((sql, index) => {
      this.transaction(() => {
        this.#database.exec(sql)
        this.#database.exec(`PRAGMA user_version = ${version + index + 1}`)
      })
    })
  }
}

function openLocked(file: string): DatabaseSync {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { timeout: 0, enableForeignKeyConstraints: true })
    database.exec('PRAGMA locking_mode = EXCLUSIVE')
    database.exec('PRAGMA journal_mode = WAL')
    database.exec('PRAGMA synchronous = FULL')
    database.exec('PRAGMA cache_size = -8000')
    // The exclusive lock is taken by the first write, and then kept.
    database.exec('BEGIN IMMEDIATE; COMMIT')
    return database
  } catch (error) {
    database?.close()
    const text = messageOf(error)
    if (/locked|busy/i.test(text)) {
      throw new EdfNodeStartError('EDIRLOCKED', `another node is using ${file}`, error)
    }
    if (/unable to open|readonly/i.test(text)) {
      throw new EdfNodeStartError('EACCES', `cannot open ${file}: ${text}`, error)
    }
    throw new EdfNodeStartError(
      errorCode(error) ? 'EDIRDAMAGED' : 'EIO',
      `cannot read ${file}: ${text}`,
      error,
    )
  }
}

/** Whether a statement failed on a UNIQUE or PRIMARY KEY constraint. */
export function isUniqueViolation(error: unknown): boolean {
  return error instanceof Error && error.message.includes('UNIQUE constraint failed')
}
