import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { sql } from 'kysely'
import { sleep } from '../call.ts'
import type { Database } from '../db/database.ts'
import { onEachEngine } from '../db/testing.ts'
import { BackendError } from '../errors.ts'
import { silentLogger } from '../log.ts'
import { type AnyJobDefinition, defineJob, type JobQueue, type JobTables, type Json } from './job-queue.ts'
import { jobMigrations } from './migrations.ts'
import { openJobQueue } from './open-job-queue.ts'
import { livenessSpace } from './worker-liveness.ts'

const contents = { jobs: jobMigrations }
const log = silentLogger()
const requestId = 'req-1'

async function enqueue(
  queue: JobQueue,
  database: Database<JobTables>,
  kind: string,
  resource: string,
  payload: Json = null,
): Promise<void> {
  await database.kysely
    .transaction()
    .execute((transaction) => queue.enqueue(transaction, { kind }, { resource, payload, requestId }))
}

/** A kind of job that only reports; failing is a bug of the test. */
function reporting(kind: string, run: (payload: string) => Promise<void> | void): AnyJobDefinition {
  return defineJob<string>({
    kind,
    run: async (payload) => run(payload),
    fail: async (_payload, error) => {
      throw error
    },
  })
}

const rowsOf = (database: Database<JobTables>) => database.kysely.selectFrom('jobs').selectAll().execute()

onEachEngine((engine) => {
  test(`a job exists when, and only when, its transaction commits, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    await using queue = await openJobQueue({ database, log })
    const ran: string[] = []
    await queue.start([reporting('note', (payload) => void ran.push(payload))])
    await enqueue(queue, database, 'note', 'a', 'committed')
    await assert.rejects(
      database.kysely.transaction().execute(async (transaction) => {
        await queue.enqueue(
          transaction,
          { kind: 'note' },
          { resource: 'b', payload: 'rolled back', requestId },
        )
        throw new Error('rolled back')
      }),
      /rolled back/,
    )
    await queue.idle()
    assert.deepEqual(ran, ['committed'])
    assert.deepEqual(await rowsOf(database), [])
  })

  test(`jobs of one resource run in order and alone, those of others beside them, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    await using queue = await openJobQueue({ database, log, concurrency: 4 })
    const order = new Map<string, number[]>()
    const running = new Map<string, number>()
    let together = 0
    let most = 0
    const work = defineJob<{ resource: string; turn: number }>({
      kind: 'work',
      async run({ resource, turn }) {
        assert.equal(running.get(resource) ?? 0, 0)
        running.set(resource, 1)
        most = Math.max(most, ++together)
        await new Promise((resolve) => setTimeout(resolve, 10))
        together--
        running.set(resource, 0)
        order.set(resource, [...(order.get(resource) ?? []), turn])
      },
      fail: async (_payload, error) => {
        throw error
      },
    })
    for (let turn = 0; turn < 5; turn++) {
      for (const resource of ['a', 'b', 'c']) {
        await enqueue(queue, database, 'work', resource, { resource, turn })
      }
    }
    await queue.start([work])
    await queue.idle()
    for (const resource of ['a', 'b', 'c']) assert.deepEqual(order.get(resource), [0, 1, 2, 3, 4])
    assert.ok(most > 1, 'different resources run at the same time')
    assert.ok(most <= 4)
  })

  test(`a retryable failure is tried again with its state, before later jobs, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    await using queue = await openJobQueue({ database, log })
    const seen: string[] = []
    const done = Promise.withResolvers<void>()
    const flaky = defineJob<null>({
      kind: 'flaky',
      async run(_payload, job) {
        seen.push(`attempt ${job.attempt}, state ${JSON.stringify(job.state)}`)
        await job.save({ step: job.attempt })
        if (job.attempt < 3) throw new BackendError('busy', { left: 'nothing', retryAfterMs: 30 })
      },
      fail: async () => {
        seen.push('failed')
      },
    })
    const last = reporting('last', () => {
      seen.push('last')
      done.resolve()
    })
    await enqueue(queue, database, 'flaky', 'a')
    await enqueue(queue, database, 'last', 'a', '')
    await queue.start([flaky, last])
    await done.promise
    await queue.idle()
    assert.deepEqual(seen, [
      'attempt 1, state undefined',
      'attempt 2, state {"step":1}',
      'attempt 3, state {"step":2}',
      'last',
    ])
    assert.deepEqual(await rowsOf(database), [])
  })

  test(`a job that fails for good, or too often, is undone once, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    await using queue = await openJobQueue({ database, log })
    const undone: string[] = []
    let runs = 0
    const broken = defineJob<string>({
      kind: 'broken',
      maxAttempts: 2,
      async run(payload) {
        runs++
        if (payload === 'for good') throw new Error('no way')
        throw new BackendError('busy', { left: 'unknown', retryAfterMs: 1 })
      },
      async fail(payload, error) {
        undone.push(`${payload}: ${error instanceof Error ? error.message : ''}`)
      },
    })
    await enqueue(queue, database, 'broken', 'a', 'for good')
    await enqueue(queue, database, 'broken', 'b', 'too often')
    await queue.start([broken])
    while ((await rowsOf(database)).length > 0) await new Promise((resolve) => setTimeout(resolve, 10))
    await queue.idle()
    assert.deepEqual(undone.sort(), ['for good: no way', 'too often: busy'])
    assert.equal(runs, 3)
  })

  test(`a delayed job waits for its time, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    await using queue = await openJobQueue({ database, log })
    const ran: string[] = []
    await queue.start([reporting('note', (payload) => void ran.push(payload))])
    await database.kysely
      .transaction()
      .execute((transaction) =>
        queue.enqueue(
          transaction,
          { kind: 'note' },
          { resource: 'a', payload: 'later', requestId, delayMs: 3_600_000 },
        ),
      )
    await enqueue(queue, database, 'note', 'b', 'now')
    await queue.idle()
    assert.deepEqual(ran, ['now'])
    assert.equal((await rowsOf(database)).length, 1)
  })

  test(`stopping cancels what runs, and the next process goes on with it, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    const started = Promise.withResolvers<void>()
    const attempts: number[] = []
    const long = (wait: boolean) =>
      defineJob<null>({
        kind: 'long',
        maxAttempts: 1, // a stop is no failure
        async run(_payload, job) {
          attempts.push(job.attempt)
          await job.save('half')
          started.resolve()
          if (wait) await sleep(60_000, job.signal)
          assert.equal(job.state, 'half')
        },
        fail: async (_payload, error) => {
          throw error
        },
      })
    const first = await openJobQueue({ database, log })
    await enqueue(first, database, 'long', 'a')
    await first.start([long(true)])
    await started.promise
    await first[Symbol.asyncDispose]()
    assert.equal((await rowsOf(database)).length, 1)

    await using second = await openJobQueue({ database, log })
    await second.start([long(false)])
    await second.idle()
    assert.deepEqual(attempts, [1, 2])
    assert.deepEqual(await rowsOf(database), [])
  })

  test(`a job whose process is killed is resumed by the next with its state, on ${engine.name}`, async () => {
    await using place = await engine.place()
    await using database = await place.open<JobTables>(contents)
    {
      await using queue = await openJobQueue({ database, log })
      await enqueue(queue, database, 'crash', 'a', 'payload')
    }
    const from = (path: string) => JSON.stringify(new URL(path, import.meta.url).href)
    const script = `
      import { openDatabase } from ${from('../db/database.ts')}
      import { silentLogger } from ${from('../log.ts')}
      import { openJobQueue } from ${from('./open-job-queue.ts')}
      const database = await openDatabase(process.env.DATABASE)
      const queue = await openJobQueue({ database, log: silentLogger() })
      await queue.start([{
        kind: 'crash',
        async run(payload, job) {
          await job.save({ half: payload })
          console.log('half')
          await new Promise((resolve) => setTimeout(resolve, 60_000))
        },
        async fail() {},
      }])`
    const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '-e', script], {
      env: { ...process.env, DATABASE: place.url },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(child, 'exit')
    await Promise.race([once(child.stdout, 'data'), exited])
    assert.equal(child.exitCode, null, 'the child runs the job')
    child.kill('SIGKILL')
    await exited

    await using queue = await openJobQueue({ database, log })
    const done = Promise.withResolvers<Json>()
    await queue.start([
      defineJob<string>({
        kind: 'crash',
        run: async (payload, job) => done.resolve({ payload, attempt: job.attempt, state: job.state }),
        fail: async (_payload, error) => done.reject(error),
      }),
    ])
    assert.deepEqual(await done.promise, { payload: 'payload', attempt: 2, state: { half: 'payload' } })
    await queue.idle()
    assert.deepEqual(await rowsOf(database), [])
  })

  if (engine.name === 'PostgreSQL') {
    test('a process that loses the database stops its jobs, since others begin them, and recovers', async () => {
      await using database = await engine.open<JobTables>(contents)
      await using queue = await openJobQueue({ database, log })
      const started = Promise.withResolvers<void>()
      const again = Promise.withResolvers<number>()
      let stopped: unknown
      const job = defineJob<null>({
        kind: 'long',
        async run(_payload, { attempt, signal }) {
          if (attempt > 1) return again.resolve(attempt)
          started.resolve()
          await sleep(60_000, signal).catch((reason: unknown) => {
            stopped = reason
            throw reason
          })
        },
        fail: async (_payload, error) => again.reject(error),
      })
      await enqueue(queue, database, 'long', 'a')
      await queue.start([job])
      await started.promise
      const { lock_key: key } = await database.kysely
        .selectFrom('job_workers')
        .select('lock_key')
        .executeTakeFirstOrThrow()
      await sql`select pg_terminate_backend(pid) from pg_locks
        where locktype = 'advisory' and classid = ${livenessSpace} and objid = ${key}`.execute(
        database.kysely,
      )
      assert.equal(await again.promise, 2)
      assert.match(String(stopped), /connection to the database is lost/)
      await queue.idle()
      assert.deepEqual(await rowsOf(database), [])
    })

    test('two processes share the work and never do the same', async () => {
      await using database = await engine.open<JobTables>(contents)
      await using one = await openJobQueue({ database, log, concurrency: 2 })
      await using other = await openJobQueue({ database, log, concurrency: 2 })
      const ran: string[] = []
      let together = 0
      const work = reporting('work', async (payload) => {
        together++
        ran.push(payload)
        await new Promise((resolve) => setTimeout(resolve, 5))
        together--
        assert.ok(together <= 4)
      })
      for (let index = 0; index < 20; index++) {
        await enqueue(one, database, 'work', `resource ${index % 7}`, String(index))
      }
      await Promise.all([one.start([work]), other.start([work])])
      while ((await rowsOf(database)).length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
      assert.deepEqual(
        ran.map(Number).sort((a, b) => a - b),
        Array.from({ length: 20 }, (_, index) => index),
      )
    })
  }

  test(`a job of a kind nobody here knows stays for a process that does, on ${engine.name}`, async () => {
    await using database = await engine.open<JobTables>(contents)
    await using queue = await openJobQueue({ database, log })
    await enqueue(queue, database, 'unknown', 'a')
    await queue.start([reporting('note', () => {})])
    await queue.idle()
    const rows = await rowsOf(database)
    assert.equal(rows.length, 1)
    assert.equal(rows[0]?.attempts, 0)
  })
})
