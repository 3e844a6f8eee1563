import type { Client } from 'pg'
import { sleep } from '../call.ts'
import { BackendError } from '../errors.ts'
import type { Logger } from '../log.ts'
import { type Locks, processLocks } from './locks.ts'

/** Waiting for another process's lock: how often is it tried, in milliseconds. */
const firstTryAfterMs = 10
const tryEveryMs = 250

/**
 * Locks that all processes with the same database share: advisory locks, which PostgreSQL frees when their
 * process dies. All locks of a process are held by one connection, made when the first is needed: however many
 * are held or waited for, connections cannot run out. Within the process, first come, first served; between
 * processes, whoever tries first.
 *
 * When that connection breaks, its locks are free for others although the work under them goes on here; that
 * is logged, and the work's own compare-and-swap has to notice.
 */
export function postgresLocks(options: { url: string; log: Logger }): Locks & AsyncDisposable {
  const { log } = options
  const withinProcess = processLocks()
  let session: Promise<Client> | undefined
  let held = 0
  let queries: Promise<unknown> = Promise.resolve()

  /** One statement after the other, as the connection wants it. */
  function ask(client: Client, statement: string, key: string): Promise<boolean> {
    const asked = queries.then(async () => {
      const { rows } = await client.query<{ done: boolean }>(statement, [key])
      return rows[0]?.done === true
    })
    queries = asked.catch(() => {})
    return asked
  }

  function connected(): Promise<Client> {
    session ??= connect().catch((error: unknown) => {
      session = undefined
      throw new BackendError('The database that holds the locks cannot be reached.', {
        left: 'nothing',
        retryAfterMs: 1_000,
        cause: error,
      })
    })
    return session
  }

  async function connect(): Promise<Client> {
    const { default: pg } = await import('pg')
    const client: Client = new pg.Client({
      connectionString: options.url,
      keepAlive: true,
      connectionTimeoutMillis: 10_000,
      query_timeout: 30_000,
    })
    const ended = () => {
      session = undefined
      if (held > 0) log.error({ held }, 'the connection that holds the locks is lost')
    }
    client.on('error', ended)
    client.on('end', ended)
    await client.connect()
    return client
  }

  async function acquire(key: string, signal: AbortSignal): Promise<Client> {
    for (let waitMs = firstTryAfterMs; ; waitMs = Math.min(waitMs * 2, tryEveryMs)) {
      signal.throwIfAborted()
      const client = await connected()
      if (await ask(client, 'select pg_try_advisory_lock(hashtextextended($1, 0)) as done', key))
        return client
      await sleep(waitMs, signal)
    }
  }

  return {
    withLock(key, signal, work) {
      return withinProcess.withLock(key, signal, async () => {
        const client = await acquire(key, signal)
        held++
        try {
          return await work()
        } finally {
          held--
          // when the connection is gone, so is the lock
          await ask(client, 'select pg_advisory_unlock(hashtextextended($1, 0)) as done', key).catch(() => {})
        }
      })
    },
    async [Symbol.asyncDispose]() {
      const client = await session?.catch(() => undefined)
      held = 0
      await client?.end()
    },
  }
}
