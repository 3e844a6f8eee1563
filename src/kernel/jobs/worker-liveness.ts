import { randomInt } from 'node:crypto'
import type { Client } from 'pg'

/** The first half of our advisory locks' keys: tells them from everybody else's. */
export const livenessSpace = 7_357_002

/** A process that others can see to be alive, until it is disposed or its connection ends. */
export interface Liveness extends AsyncDisposable {
  /** The second half of the lock's key. */
  readonly lockKey: number
  /** Resolves when the connection has ended, and with it the proof. */
  readonly lost: Promise<void>
}

/**
 * Proves that this process is alive by holding an advisory lock on a connection of its own: PostgreSQL frees it
 * when the process dies in whatever way, and within half a minute when its host does.
 */
export async function showLiveness(url: string): Promise<Liveness> {
  const { default: pg } = await import('pg')
  const client: Client = new pg.Client({
    connectionString: url,
    keepAlive: true,
    connectionTimeoutMillis: 10_000,
  })
  const { promise: lost, resolve } = Promise.withResolvers<void>()
  client.on('error', () => resolve())
  client.on('end', () => resolve())
  await client.connect()
  const lockKey = randomInt(1, 2 ** 31 - 1)
  try {
    await client.query(
      'set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3',
    )
    await client.query('select pg_advisory_lock($1, $2)', [livenessSpace, lockKey])
  } catch (error) {
    await client.end()
    throw error
  }
  return { lockKey, lost, [Symbol.asyncDispose]: () => client.end() }
}
