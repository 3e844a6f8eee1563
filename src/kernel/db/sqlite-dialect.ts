import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
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

function adapt(database: DatabaseSync) {
  const statements = new Map<string, ReturnType<typeof compile>>()
  const compile = (sql: string) => {
    const statement = database.prepare(sql)
    const values = (parameters: readonly unknown[]) => parameters.map(toSql)
    return {
      reader: statement.columns().length > 0,
      // rows have no prototype; copied, they equal those of PostgreSQL in every comparison
      all: (parameters: readonly unknown[]) =>
        statement.all(...values(parameters)).map((row) => ({ ...row })),
      run: (parameters: readonly unknown[]) => statement.run(...values(parameters)),
      iterate: (parameters: readonly unknown[]) => statement.iterate(...values(parameters)),
    }
  }
  return {
    close: () => database.close(),
    prepare(sql: string) {
      const known = statements.get(sql)
      if (known !== undefined) return known
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
