import { DatabaseSync, type SQLInputValue, type SQLOutputValue, type StatementSync } from 'node:sqlite'
import { SqliteDialect } from 'kysely'

/** How long a statement waits for another process's write lock, in milliseconds. */
const busyTimeoutMs = 5_000

/**
 * Kysely on the SQLite inside Node. Statements are compiled once and kept: compiling costs more than running.
 * @param path a file, or `:memory:`
 */
export function sqliteDialect(path: string): SqliteDialect {
  return new SqliteDialect({
    database: async () => {
      const database = new DatabaseSync(path, { timeout: busyTimeoutMs })
      database.exec('pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on')
      return adapt(database)
    },
  })
}

const keptStatements = 500
const changesTables = /^\s*(alter|drop)\b/i

/**
 * Makes a statement return plain objects. Node's own have no prototype, so that they do not equal those of PostgreSQL
 * in comparisons, and are slow: copying them took three quarters of the time of a list.
 */
function rowMaker(statement: StatementSync): (row: unknown) => Record<string, SQLOutputValue> {
  statement.setReturnArrays(true)
  const names = statement.columns().map(({ name }) => name)
  return (row) => {
    const values = row as readonly SQLOutputValue[] // the types of Node do not know of `setReturnArrays`
    const made: Record<string, SQLOutputValue> = {}
    for (let index = 0; index < names.length; index += 1) made[names[index] ?? ''] = values[index] ?? null
    return made
  }
}

function adapt(database: DatabaseSync) {
  const statements = new Map<string, ReturnType<typeof compile>>()
  const compile = (sql: string) => {
    const statement = database.prepare(sql)
    const values = (parameters: readonly unknown[]) => parameters.map(toSql)
    const toRow = rowMaker(statement)
    return {
      reader: statement.columns().length > 0,
      all: (parameters: readonly unknown[]) => statement.all(...values(parameters)).map(toRow),
      run: (parameters: readonly unknown[]) => statement.run(...values(parameters)),
      *iterate(parameters: readonly unknown[]) {
        for (const row of statement.iterate(...values(parameters))) yield toRow(row)
      },
    }
  }
  return {
    close: () => database.close(),
    prepare(sql: string) {
      const known = statements.get(sql)
      if (known !== undefined) return known
      if (changesTables.test(sql)) statements.clear() // `select *` has other columns afterwards
      if (statements.size >= keptStatements) statements.clear()
      const statement = compile(sql)
      statements.set(sql, statement)
      return statement
    },
  }
}

/** SQLite knows neither booleans nor undefined. */
function toSql(value: unknown): SQLInputValue {
  if (typeof value === 'boolean') return value ? 1 : 0
  if (value === undefined) return null
  return value as SQLInputValue // Kysely passes only what a column type of ours can hold: text, numbers, null, bytes
}
