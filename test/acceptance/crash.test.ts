import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Api, apiOf } from '../support/api.ts'
import { appInstances } from '../support/array.ts'
import { type Instance, startInstance } from '../support/instance.ts'
import { volumeDigest } from '../support/volume-digest.ts'

const MiB = 1024 * 1024
/** Milliseconds into an operation at which the process is killed; a longer list with EMBERGLASS_TEST_DEEP=1. */
const delays =
  process.env['EMBERGLASS_TEST_DEEP'] === '1' ? [0, 3, 8, 15, 30, 60, 100, 200, 400, 700] : [5, 150]

/**
 * `kill -9` in the middle of every step. What must hold afterwards: nothing is stuck in a state that ends in
 * "ing", what was acknowledged is there and whole, and the array holds nothing that nobody knows.
 */
describe('a killed process', () => {
  let directory: string
  let instance: Instance
  let api: Api
  const data = randomBytes(96 * MiB)
  const sha512 = createHash('sha512').update(data).digest('hex')

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-crash-'))
    instance = await startInstance({ stateDirectory: join(directory, 'state') })
    api = await apiOf(instance)
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  async function killController(): Promise<void> {
    await instance.kill()
    instance = await startInstance({ stateDirectory: instance.stateDirectory, portBase: instance.portBase })
    api = await apiOf(instance)
  }

  async function killArray(): Promise<void> {
    for (;;) {
      try {
        process.kill(await instance.edfNodePid(), 'SIGKILL')
        return
      } catch (error) {
        // It died of the last kill only now: the next process is the one to kill.
        if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
      }
    }
  }

  const victims = [
    { name: 'the controller', kill: killController },
    { name: 'the array', kill: killArray },
  ]

  /** Starts an operation, kills somebody in the middle, and swallows what the caller then sees. */
  async function interrupted(operation: () => Promise<unknown>, kill: () => Promise<void>, delay: number) {
    const running = operation().catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, delay))
    await kill()
    await running
  }

  async function settledVolumes(): Promise<{ id: string; name: string; status: string; size: number }[]> {
    const answer = await api.until(
      'every volume to settle',
      () => api.block('GET', '/volumes/detail'),
      ({ body }) => body.volumes.every((volume: { status: string }) => !volume.status.endsWith('ing')),
    )
    return answer.body.volumes
  }

  async function uploadedImage(name: string): Promise<string> {
    const image = await api.image('POST', '/images', { name, disk_format: 'raw', container_format: 'bare' })
    const put = await api.image('PUT', `/images/${image.body.id}/file`, data, {
      'content-type': 'application/octet-stream',
    })
    assert.equal(put.status, 204, JSON.stringify(put.body))
    return image.body.id
  }

  /** Deletes all volumes and snapshots, and looks at what the array still has. */
  async function assertNothingIsLeft(): Promise<void> {
    for (const snapshot of (await api.block('GET', '/snapshots/detail')).body.snapshots) {
      await api.block('DELETE', `/snapshots/${snapshot.id}`)
    }
    await api.until(
      'the snapshots to go',
      () => api.block('GET', '/snapshots'),
      ({ body }) => body.snapshots.length === 0,
    )
    for (const volume of await settledVolumes()) {
      const answer = await api.block('DELETE', `/volumes/${volume.id}`)
      assert.equal(answer.status, 202, JSON.stringify(answer.body))
    }
    await api.until(
      'the volumes to go',
      () => api.block('GET', '/volumes'),
      ({ body }) => body.volumes.length === 0,
    )
    assert.deepEqual(await appInstances(instance), [])
  }

  for (const victim of victims) {
    test(`${victim.name} killed while volumes are made: each ends available or in error, none stuck`, async () => {
      for (const delay of delays) {
        const create = () => api.block('POST', '/volumes', { volume: { size: 1, name: `crash-${delay}` } })
        await interrupted(create, victim.kill, delay)
      }
      for (const volume of await settledVolumes()) assert.match(volume.status, /^(available|error)$/)
      await assertNothingIsLeft()
    })

    test(`${victim.name} killed while an image is copied to a volume: the volume ends whole or in error`, async () => {
      const imageId = await uploadedImage('source')
      for (const delay of [...delays, 600]) {
        const created = await api.block('POST', '/volumes', { volume: { size: 1, imageRef: imageId } })
        assert.equal(created.status, 202, JSON.stringify(created.body))
        await new Promise((resolve) => setTimeout(resolve, delay))
        await victim.kill()
        const volumes = await settledVolumes()
        const volume = volumes.find((candidate) => candidate.id === created.body.volume.id)
        assert.ok(volume, 'an accepted volume is not forgotten')
        assert.match(volume.status, /^(available|error)$/)
        if (volume.status === 'available') {
          const uploaded = await volumeDigest(api, volume.id, data.byteLength)
          assert.equal(uploaded, sha512, `bytes of a volume made with a kill after ${delay} ms`)
        }
      }
      await assertNothingIsLeft()
      await api.image('DELETE', `/images/${imageId}`)
    })

    test(`${victim.name} killed while volumes are extended, snapshotted, cloned and deleted`, async () => {
      const created = await api.block('POST', '/volumes', { volume: { size: 1, name: 'base' } })
      const id: string = created.body.volume.id
      await settledVolumes()
      for (const delay of delays) {
        await interrupted(
          () =>
            api.block('POST', `/volumes/${id}/action`, {
              'os-extend': { new_size: 2 + delays.indexOf(delay) },
            }),
          victim.kill,
          delay,
        )
        await settledVolumes()
        await interrupted(
          () => api.block('POST', '/snapshots', { snapshot: { volume_id: id, name: `s-${delay}` } }),
          victim.kill,
          delay,
        )
        await settledVolumes()
        await interrupted(
          () => api.block('POST', '/volumes', { volume: { size: 9, source_volid: id } }),
          victim.kill,
          delay,
        )
        const clones = (await settledVolumes()).filter((volume) => volume.id !== id)
        for (const clone of clones) {
          await interrupted(() => api.block('DELETE', `/volumes/${clone.id}`), victim.kill, delay)
        }
        const left = await settledVolumes()
        assert.equal(left.find((volume) => volume.id === id)?.status, 'available')
      }
      const snapshots = await api.until(
        'every snapshot to settle',
        () => api.block('GET', '/snapshots/detail'),
        ({ body }) =>
          body.snapshots.every((snapshot: { status: string }) => !snapshot.status.endsWith('ing')),
      )
      for (const snapshot of snapshots.body.snapshots) assert.match(snapshot.status, /^(available|error)$/)
      await assertNothingIsLeft()
    })
  }

  test('the controller killed while an image is uploaded: the image waits for data again, and no file is left', async () => {
    for (const delay of [...delays, 300]) {
      const image = await api.image('POST', '/images', {
        name: 'cut',
        disk_format: 'raw',
        container_format: 'bare',
      })
      const upload = () =>
        api.image('PUT', `/images/${image.body.id}/file`, data, {
          'content-type': 'application/octet-stream',
        })
      await interrupted(upload, killController, delay)
      const shown = await api.until(
        'the image to settle',
        () => api.image('GET', `/images/${image.body.id}`),
        ({ body }) => body.status !== 'saving',
      )
      if (shown.body.status === 'active') {
        assert.equal(shown.body.os_hash_value, sha512)
      } else {
        assert.equal(shown.body.status, 'queued')
        const again = await api.image('PUT', `/images/${image.body.id}/file`, data, {
          'content-type': 'application/octet-stream',
        })
        assert.equal(again.status, 204, JSON.stringify(again.body))
        assert.equal((await api.image('GET', `/images/${image.body.id}`)).body.os_hash_value, sha512)
      }
      assert.equal((await api.image('DELETE', `/images/${image.body.id}`)).status, 204)
    }
  })
})
