import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NotFound } from '../../../kernel/errors.ts'
import { call, made, newVolume, Rig } from './driver.test-support.ts'

test('after a migration within the array each id leads to its own app instance, wherever it was interrupted', async () => {
  await using rig = await Rig.start({ retryForSeconds: 0 })
  const broken = { status: 500, body: { name: 'InternalError', code: 1, http: 500, message: 'broken' } }
  for (let failing = 0, done = false; !done; failing += 1) {
    const volume = await rig.create()
    const copy = await rig.create()
    const [old, moved] = (await rig.all()).sort(
      (a, b) => Number(a.uuid !== volume.id) - Number(b.uuid !== volume.id),
    )
    let number = -1
    rig.array.proxy.decide = ({ method, path }) => {
      if (method === 'GET' || /metadata|ecosystem/.test(path)) return 'pass'
      number += 1
      return number === failing ? broken : 'pass'
    }
    done = await rig.driver.migration.adopt(volume, copy, call).then(
      () => true,
      () => false,
    )
    rig.array.proxy.decide = () => 'pass'
    const adopted = await rig.driver.migration.adopt(volume, copy, call)
    assert.equal(adopted.volume.providerLocation, `/root|${moved?.id}`)
    assert.equal(adopted.old?.providerLocation, `/root|${old?.id}`)
    const names = (await rig.all()).map(({ name }) => name).sort()
    assert.deepEqual(names, [`OS-MIGRATED-${copy.id}`, `OS-data-${volume.id}`].sort())
    await rig.driver.delete(made(copy, adopted.old ?? { providerLocation: undefined }), call)
    assert.equal((await rig.only()).id, moved?.id)
    const forgotten = made(volume, { providerLocation: undefined })
    await rig.driver.delete(forgotten, call)
    assert.deepEqual(await rig.all(), [], 'found by the id that stays, without anything remembered')
  }
})

test('a volume that came from elsewhere is called by its own id', async () => {
  await using rig = await Rig.start()
  const copy = await rig.create()
  const volume = made(newVolume({ displayName: 'mail' }), { providerLocation: 'rbd:volumes/1' })
  const adopted = await rig.driver.migration.adopt(volume, copy, call)
  assert.equal(adopted.old, undefined)
  assert.equal((await rig.only()).name, `OS-mail-${volume.id}`)
  await assert.rejects(
    rig.driver.migration.adopt(
      made(newVolume(), { providerLocation: undefined }),
      made(newVolume(), { providerLocation: undefined }),
      call,
    ),
    NotFound,
  )
})
