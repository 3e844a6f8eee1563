import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sleep } from '../call.ts'
import { onEachEngine } from '../db/testing.ts'
import { silentLogger } from '../log.ts'
import type { Locks } from './locks.ts'
import { openLocks } from './open-locks.ts'

const { signal } = new AbortController()
const log = silentLogger()
const tick = () => new Promise((resolve) => setTimeout(resolve, 5))

/** Runs many pieces of work under one key, and says how many were ever inside together. */
async function most(
  locks: readonly Locks[],
  keyOf: (index: number) => string,
  count: number,
): Promise<number> {
  let inside = 0
  let most = 0
  await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const one = locks[index % locks.length]
      assert.ok(one)
      await one.withLock(keyOf(index), signal, async () => {
        most = Math.max(most, ++inside)
        await tick()
        inside--
      })
    }),
  )
  return most
}

onEachEngine((engine) => {
  test(`one key lets one in at a time, different keys do not wait, on ${engine.name}`, async () => {
    await using database = await engine.open()
    await using locks = await openLocks({ database, log })
    assert.equal(await most([locks], () => `${database.url} a`, 10), 1)
    const many = await most([locks], (index) => `${database.url} ${index}`, 60)
    assert.ok(many > 1)
  })

  test(`a lock is free again after its work has thrown, on ${engine.name}`, async () => {
    await using database = await engine.open()
    await using locks = await openLocks({ database, log })
    const key = `${database.url} a`
    await assert.rejects(
      locks.withLock(key, signal, async () => {
        throw new Error('broken')
      }),
      /broken/,
    )
    assert.equal(await locks.withLock(key, signal, async () => 'in'), 'in')
  })

  test(`who gives up waiting is let go, and does not stand in the others' way, on ${engine.name}`, async () => {
    await using database = await engine.open()
    await using locks = await openLocks({ database, log })
    const key = `${database.url} a`
    const release = Promise.withResolvers<void>()
    const holder = locks.withLock(key, signal, () => release.promise)
    const controller = new AbortController()
    const waiting = locks.withLock(key, controller.signal, async () => assert.fail('must not run'))
    const after = locks.withLock(key, signal, async () => 'after')
    const reason = new Error('enough')
    controller.abort(reason)
    await assert.rejects(waiting, reason)
    release.resolve()
    await holder
    assert.equal(await after, 'after')
  })

  if (engine.name === 'SQLite') return

  test('processes that share a PostgreSQL share its locks', async () => {
    await using database = await engine.open()
    await using one = await openLocks({ database, log })
    await using other = await openLocks({ database, log })
    assert.equal(await most([one, other], () => `${database.url} a`, 10), 1)
  })

  test('a waiter of another process can give up, and a closed process frees its locks', async () => {
    await using database = await engine.open()
    await using other = await openLocks({ database, log })
    const key = `${database.url} a`
    const release = Promise.withResolvers<void>()
    let holder: Promise<void>
    {
      await using one = await openLocks({ database, log })
      const inside = Promise.withResolvers<void>()
      holder = one.withLock(key, signal, async () => {
        inside.resolve()
        await release.promise
      })
      await inside.promise
      const controller = new AbortController()
      const waiting = other.withLock(key, controller.signal, async () => {})
      await sleep(30, signal)
      controller.abort(new Error('enough'))
      await assert.rejects(waiting, /enough/)
    }
    assert.equal(await other.withLock(key, signal, async () => 'in'), 'in')
    release.resolve()
    await holder
  })
})
