import assert from 'node:assert/strict'
import { test } from 'node:test'
import { percentile } from './activity.ts'
import { Meters } from './meters.ts'

test('operations, bytes and latencies of several volumes are added up by interval', () => {
  let now = 1_000_000
  const meters = new Meters(() => now)
  meters.of('a').count('read', 4096, 2)
  meters.of('b').count('write', 512, 8)
  now += 10_000
  meters.closeInterval()
  meters.of('a').count('read', 4096, 4)
  now += 2000
  const points = meters.points(['a', 'b', 'unknown'])
  assert.deepEqual(
    points.map((point) => [point.startedAt, point.endedAt, point.read.operations, point.write.operations]),
    [
      [1_000_000, 1_010_000, 1, 1],
      [1_010_000, 1_012_000, 1, 0],
    ],
  )
  assert.deepEqual(
    points.map((point) => [point.totalRead.operations, point.totalRead.bytes, point.totalWrite.bytes]),
    [
      [1, 4096, 512],
      [2, 8192, 512],
    ],
  )
  const latest = meters.latest(['a'])
  assert.deepEqual([latest.startedAt, latest.read.operations, latest.read.slowestMs], [1_000_000, 2, 4])
  assert.equal(meters.latest(['b']).write.bytes, 512)
  now += 5000
  assert.equal(meters.latest(['a']).startedAt, 1_010_000)
  meters.forget('a')
  assert.equal(meters.latest(['a']).totalRead.operations, 0)
})

test('percentiles are those of the operations, the last one exactly', () => {
  const meters = new Meters()
  for (let ms = 1; ms <= 100; ms++) meters.of('a').count('write', 1, ms)
  const { write } = meters.latest(['a'])
  const near = (value: number, expected: number) =>
    assert.ok(Math.abs(value - expected) < expected * 0.1, `${value} is not about ${expected}`)
  near(percentile(write, 0.5), 50)
  near(percentile(write, 0.9), 90)
  assert.equal(percentile(write, 1), 100)
  assert.equal(percentile(meters.latest(['b']).write, 0.5), 0)
})

test('an hour is kept, and no more', () => {
  let now = 0
  const meters = new Meters(() => now)
  for (let index = 0; index < 400; index++) {
    now += 10_000
    meters.of('a').count('read', 1, 1)
    meters.closeInterval()
  }
  const points = meters.points(['a'])
  assert.equal(points.length, 361)
  assert.equal(points[0]?.totalRead.operations, 41)
  assert.ok(meters.cpuUsage().every(({ percent }) => percent >= 0 && percent <= 100))
})
