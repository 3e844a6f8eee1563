import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Exclusive } from './exclusive.ts'
import { isBusy, Retries } from './retry.ts'

test('pauses grow to the interval and end with the budget', () => {
  const retries = new Retries({ budgetMs: 2000, intervalMs: 500 }, 0)
  const pauses: number[] = []
  let now = 0
  for (let pause = retries.next(now, 0.5); pause !== undefined; pause = retries.next(now, 0.5)) {
    pauses.push(Math.round(pause))
    now += pause
  }
  assert.deepEqual(pauses, [100, 200, 400, 500, 500])
})

test('pauses are spread by a fifth to either side', () => {
  const policy = { budgetMs: 1000, intervalMs: 500 }
  assert.equal(new Retries(policy, 0).next(0, 0), 80)
  assert.equal(Math.round(new Retries(policy, 0).next(0, 0.9999) ?? 0), 120)
})

test('no budget means no retry', () => {
  assert.equal(new Retries({ budgetMs: 0, intervalMs: 5000 }, 0).next(0), undefined)
})

test('503, and the 500 of a node that is starting, are busy; other failures are not', () => {
  assert.equal(isBusy(503, undefined), true)
  assert.equal(isBusy(500, { message: 'The REST server is still initializing.' }), true)
  assert.equal(isBusy(500, { message: 'a bug' }), false)
  assert.equal(isBusy(404, { message: 'still initializing' }), false)
})

test('work of one key runs one after the other, of two keys side by side', async () => {
  const exclusive = new Exclusive()
  const { signal } = new AbortController()
  const running = new Set<string>()
  let most = 0
  const work = (key: string) =>
    exclusive.run(key, signal, async () => {
      assert.ok(!running.has(key), 'nobody else runs under this key')
      running.add(key)
      most = Math.max(most, running.size)
      await new Promise((resolve) => setImmediate(resolve))
      running.delete(key)
    })
  await Promise.all(['a', 'a', 'b', 'a', 'b'].map(work))
  assert.equal(most, 2)
})

test('whoever gives up waiting leaves the others in order', async () => {
  const exclusive = new Exclusive()
  const { signal } = new AbortController()
  const gate = Promise.withResolvers<void>()
  const order: string[] = []
  const first = exclusive.run('key', signal, () => gate.promise)
  const impatient = new AbortController()
  const second = exclusive.run('key', impatient.signal, async () => void order.push('second'))
  const third = exclusive.run('key', signal, async () => void order.push('third'))
  const reason = new Error('enough')
  impatient.abort(reason)
  await assert.rejects(second, (error) => error === reason)
  assert.deepEqual(order, [])
  gate.resolve()
  await Promise.all([first, third])
  assert.deepEqual(order, ['third'])
})
