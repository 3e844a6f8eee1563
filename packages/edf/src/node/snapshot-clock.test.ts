import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SnapshotClock } from './snapshot-clock.ts'

test('times of snapshots increase within one instant, when the clock steps back, and after a restart', () => {
  let now = 1_586_197_293_118
  const clock = new SnapshotClock(undefined, () => now)
  const times = [clock.next(), clock.next()]
  now -= 60_000
  times.push(clock.next())
  times.push(new SnapshotClock(times[2], () => now).next())
  assert.deepEqual(times, [
    '1586197293.118000000',
    '1586197293.118000001',
    '1586197293.118000002',
    '1586197293.118000003',
  ])
})
