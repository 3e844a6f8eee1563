import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { RateLimiter, type RateLimits } from './rate-limiter.ts'

/** Runs a limiter on a clock of its own. */
function start(t: TestContext, limits: RateLimits) {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  let now = 1000
  t.mock.method(performance, 'now', () => now)
  const limiter = new RateLimiter(limits)
  return {
    limiter,
    /** @param stepMs how late a timer may be */
    pass(ms: number, stepMs = 1): void {
      for (let passed = 0; passed < ms; passed += stepMs) {
        now += stepMs
        t.mock.timers.tick(stepMs)
      }
    },
  }
}

/** Keeps `depth` commands waiting; returns how many were let through. */
function flood(limiter: RateLimiter, direction: 'read' | 'write', bytes: number, depth: number) {
  const counter = { commands: 0 }
  const next = (): void => {
    while (limiter.ask(direction, bytes, done) === undefined) counter.commands += 1
  }
  const done = (): void => {
    counter.commands += 1
    next()
  }
  for (let index = 0; index < depth; index++) next()
  return counter
}

function within(found: number, wanted: number, tolerance = 0.02): void {
  assert.ok(Math.abs(found - wanted) <= wanted * tolerance, `${found} instead of ${wanted}`)
}

for (const stepMs of [1, 7, 40]) {
  test(`commands per second are kept to, timers being ${stepMs} ms late`, (t) => {
    const { limiter, pass } = start(t, { readIops: 1000 })
    const reads = flood(limiter, 'read', 4096, 8)
    pass(5000, stepMs)
    within(reads.commands, 5000)
  })
}

test('bytes per second are kept to, whatever the size of the commands', (t) => {
  for (const bytes of [4096, 65536, 1048576]) {
    const { limiter, pass } = start(t, { writeBytesPerSecond: 10 * 1048576 })
    const writes = flood(limiter, 'write', bytes, 32)
    pass(10_000)
    within(writes.commands * bytes, 100 * 1048576)
    t.mock.reset()
    t.mock.timers.reset()
  }
})

test('a client that sends one command at a time reaches the limit, too', (t) => {
  const { limiter, pass } = start(t, { totalIops: 100 })
  let commands = 0
  let left = 0
  const send = (): void => {
    if (limiter.ask('read', 512, answered) === undefined) answered()
  }
  const answered = (): void => {
    commands += 1
    left = 2
  }
  send()
  for (let ms = 0; ms < 10_000; ms++) {
    pass(1)
    left -= 1
    if (left === 0) send()
  }
  within(commands, 1000)
})

test('the total limits reads and writes together, and each its own', (t) => {
  const { limiter, pass } = start(t, { totalIops: 300, writeIops: 100 })
  const reads = flood(limiter, 'read', 512, 4)
  const writes = flood(limiter, 'write', 512, 4)
  pass(10_000)
  within(reads.commands + writes.commands, 3000)
  within(writes.commands, 1000)
})

test('small commands do not keep a large one waiting for ever', (t) => {
  const { limiter, pass } = start(t, { totalBytesPerSecond: 1048576 })
  flood(limiter, 'read', 512, 32)
  const writes = flood(limiter, 'write', 524288, 1)
  pass(10_000)
  assert.ok(writes.commands >= 5, `${writes.commands} large ones`)
})

test('one limit does not save up while another holds', (t) => {
  const { limiter, pass } = start(t, { readIops: 100, readBytesPerSecond: 1048576 })
  let large = 0
  for (let index = 0; index < 4; index++) limiter.ask('read', 1048576, () => (large += 1))
  const small = flood(limiter, 'read', 512, 64)
  pass(4100)
  assert.equal(large, 4)
  assert.ok(small.commands <= 15, `${small.commands} small ones at once`)
})

test('new limits hold at once, also for what waits; none let everything through', (t) => {
  const { limiter, pass } = start(t, { readIops: 1 })
  const reads = flood(limiter, 'read', 512, 8)
  pass(2000)
  assert.ok(reads.commands <= 2)
  limiter.change({ readIops: 500 })
  const before = reads.commands
  pass(4000)
  within(reads.commands - before, 2000)
  let waiting = 0
  limiter.change({ readIops: 1 })
  for (let index = 0; index < 5; index++) limiter.ask('read', 512, () => (waiting += 1))
  assert.throws(() => limiter.change({ readIops: 0 }), RangeError)
})

test('without limits what waits goes at once', (t) => {
  const { limiter } = start(t, { writeIops: 1 })
  let gone = 0
  for (let index = 0; index < 5; index++) limiter.ask('write', 512, () => (gone += 1))
  limiter.change({})
  assert.equal(gone, 5)
})

test('a command that is cancelled never starts, and those behind it do', (t) => {
  const { limiter, pass } = start(t, { readIops: 10 })
  const order: number[] = []
  const tickets = [0, 1, 2].map((index) => limiter.ask('read', 512, () => order.push(index)))
  tickets[0]?.cancel()
  tickets[1]?.cancel()
  pass(1000)
  assert.deepEqual(order, [2])
})

test('a process that stood still does not make up for all of it', (t) => {
  const { limiter, pass } = start(t, { readIops: 100 })
  let gone = 0
  for (let index = 0; index < 1000; index++) limiter.ask('read', 512, () => (gone += 1))
  pass(8000, 8000)
  assert.ok(gone <= 110, `${gone} at once`)
})
