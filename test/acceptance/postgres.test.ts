import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { onEachEngine } from '../../src/kernel/db/testing.ts'
import { apiOf } from '../support/api.ts'
import { startInstance } from '../support/instance.ts'

onEachEngine((engine) => {
  test(`a volume lives through a restart and a kill of the controller, on ${engine.name}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-engine-'))
    try {
      await using place = await engine.place()
      const options = { stateDirectory: join(directory, 'state'), arguments: ['--database', place.url] }
      let instance = await startInstance(options)
      let api = await apiOf(instance)
      const created = await api.block('POST', '/volumes', { volume: { size: 1, name: 'durable' } })
      assert.equal(created.status, 202, JSON.stringify(created.body))
      const id: string = created.body.volume.id
      await instance.kill()

      instance = await startInstance({ ...options, portBase: instance.portBase })
      api = await apiOf(instance)
      const settled = await api.until(
        'the volume that was asked for before the kill',
        () => api.block('GET', `/volumes/${id}`),
        ({ body }) => !body.volume.status.endsWith('ing'),
      )
      assert.equal(settled.body.volume.status, 'available')
      assert.equal(await instance.stop(), 0, instance.output())

      instance = await startInstance({ ...options, portBase: instance.portBase })
      api = await apiOf(instance)
      assert.equal((await api.block('DELETE', `/volumes/${id}`)).status, 202)
      await api.until(
        'the volume to go',
        () => api.block('GET', `/volumes/${id}`),
        ({ status }) => status === 404,
      )
      assert.equal(await instance.stop(), 0, instance.output())
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  })
})
