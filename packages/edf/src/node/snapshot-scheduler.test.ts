import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Json, NodeUnderTest, volumePathOf } from './testing.ts'

/** A start such that a policy of one minute runs in a moment, and again a minute later. */
const soon = () => new Date(Date.now() - 59_500).toISOString()

async function until(look: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000
  while (!(await look())) {
    assert.ok(Date.now() < deadline, 'it did not happen')
    await sleep(100)
  }
}

test('policies of volumes and app instances take snapshots on time and expire only their own', async (t) => {
  const edf = await NodeUnderTest.start(t)
  const ai = await edf.createVolume('scheduled')
  const volume = volumePathOf(ai)
  const own = await edf.ok('POST', `${volume}/snapshots`, {})
  const policy = { name: 'minutely', interval: '1min', retention_count: 1, start_time: soon() }
  const made = await edf.ok('POST', `${volume}/snapshot_policies`, policy)
  await edf.ok('POST', `${ai.path}/snapshot_policies`, policy)
  const snapshots = (path: string): Promise<Json[]> => edf.ok('GET', `${path}/snapshots`)
  await until(async () => (await snapshots(volume)).length === 2 && (await snapshots(ai.path)).length === 1)
  const first = (await snapshots(volume))[1]

  // The next time is brought near; a snapshot that a user took stays, and one that the policy took makes room.
  await edf.ok('PUT', made.path, { start_time: soon() })
  await until(async () => (await snapshots(volume)).every((snapshot) => snapshot.uuid !== first.uuid))
  const left = await snapshots(volume)
  assert.equal(left.length, 2)
  assert.equal(left[0].uuid, own.uuid)

  await edf.ok('DELETE', made.path)
  assert.equal((await snapshots(volume)).length, 2)
  await edf.refused(422, 'ValidationFailedError', 'POST', `${volume}/snapshot_policies`, {
    ...policy,
    start_time: 'tomorrow',
  })
  const events: Json[] = await edf.ok('GET', '/events/system')
  assert.ok(events.some(({ code }) => code === 'SNAPSHOT_POLICY_CARRIED_OUT'))
  await edf.ok('DELETE', ai.path, { force: true })
})
