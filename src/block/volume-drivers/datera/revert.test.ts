import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { Conflict } from '../../../kernel/errors.ts'
import type { BackendVolume } from '../../volume-driver.ts'
import { call, hostA, Rig } from './driver.test-support.ts'

async function snapshotOf(rig: Rig, volume: BackendVolume) {
  const id = randomUUID()
  const wanted = { id, name: `snapshot-${id}`, volume }
  return { ...wanted, ...(await rig.driver.snapshots.create(wanted, call)) }
}

test('a volume that hosts use is not reverted', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  const snapshot = await snapshotOf(rig, volume)
  await rig.driver.attach(volume, hostA, call)
  rig.array.proxy.seen.length = 0
  await assert.rejects(async () => await rig.driver.snapshots.revert?.(snapshot, call), Conflict)
  assert.ok(rig.array.proxy.seen.every(({ method }) => method === 'GET'))
})

test('whichever request of a revert fails, the volume is online exactly when it was', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0 })
  const volume = await rig.create()
  const snapshot = await snapshotOf(rig, volume)
  const broken = { status: 500, body: { name: 'InternalError', code: 1, http: 500, message: 'broken' } }
  const { path } = await rig.only()
  for (const state of ['online', 'offline'] as const) {
    let outcome: unknown
    for (let failing = 0; outcome !== 'done'; failing += 1) {
      await rig.client.in('/root').appInstances.update(path, { admin_state: state, force: true }, call)
      let number = -1
      rig.array.proxy.decide = ({ body }) => {
        if (body === JSON.stringify({ admin_state: 'online' })) return 'pass' // the way back
        number += 1
        return number === failing ? broken : 'pass'
      }
      outcome = await rig.driver.snapshots.revert?.(snapshot, call).then(
        () => 'done',
        (error: unknown) => error,
      )
      rig.array.proxy.decide = () => 'pass'
      assert.equal((await rig.only()).admin_state, state, `request ${failing}`)
    }
  }
})
