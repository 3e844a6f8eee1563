import { Kysely, PostgresDialect, type Transaction } from 'kysely'
import { Misconfigured } from '../errors.ts'
import { sqliteDialect } from './sqlite-dialect.ts'

/** Connections that one process opens to PostgreSQL at most. */
const poolSize = 10

/** A connection or a transaction: queries take it first and cannot tell which. */
export type Db<Tables> = Kysely<Tables> | Transaction<Tables>

/** An open database. */
export interface Database<Tables> extends AsyncDisposable {
  readonly kysely: Kysely<Tables>
  readonly engine: 'sqlite' | 'postgres'
  /** What was opened, as a URL; the password in it is never printed. */
  readonly url: string
}

/**
 * Opens a database by an SQLAlchemy URL, as `[database] connection` has it: `sqlite:///relative`,
 * `sqlite:////absolute`, `sqlite://` (memory), `postgresql://…`, `postgresql+psycopg2://…`.
 * @throws Misconfigured for any other kind
 */
export async function openDatabase<Tables>(url: string): Promise<Database<Tables>> {
  if (url.startsWith('sqlite:')) {
    const path = url.replace(/^sqlite:(\/\/\/?)?/, '')
    const kysely = new Kysely<Tables>({ dialect: sqliteDialect(path === '' ? ':memory:' : path) })
    return { kysely, engine: 'sqlite', url, [Symbol.asyncDispose]: () => kysely.destroy() }
  }
  const postgresUrl = url.replace(/^postgres(ql)?(\+\w+)?:/, 'postgresql:')
  if (!postgresUrl.startsWith('postgresql:')) {
    const scheme = url.split(':', 1)[0] ?? url
    throw new Misconfigured(
      `[database] connection names '${scheme}', which is not supported: use sqlite:////path or postgresql://….`,
      { details: { option: 'connection', scheme } },
    )
  }
  const { default: pg } = await import('pg')
  pg.types.setTypeParser(pg.types.builtins.INT8, Number) // sizes and counts: exact up to 8 PiB
  const pool = new pg.Pool({
    connectionString: postgresUrl,
    max: poolSize,
    connectionTimeoutMillis: 10_000,
  })
  // a connection that breaks is replaced by the pool; queries report their own errors
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  const kysely = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  return { kysely, engine: 'postgres', url: postgresUrl, [Symbol.asyncDispose]: () => kysely.destroy() }
}
