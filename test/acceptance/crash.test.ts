import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Api, apiOf } from '../support/api.ts'
import { appInstances } from '../support/array.ts'
import { type Instance, startInstance } from '../support/instance.ts'
import { prepareSteps, type Stage, settled } from './session-steps.fixture.ts'

const MiB = 1024 * 1024
/** Milliseconds into the steps at which somebody is killed; a longer list with EMBERGLASS_TEST_DEEP=1. */
const delays =
  process.env['EMBERGLASS_TEST_DEEP'] === '1'
    ? [0, 3, 8, 15, 30, 60, 100, 200, 400, 700, 1200, 2000]
    : [5, 100, 600]

/**
 * `kill -9` in the middle of every step of the client session, all of them begun at once. What must hold afterwards:
 * nothing is stuck in a state that ends in "ing", what was acknowledged is there and whole, what was not can be tried
 * again, and the array holds nothing that nobody knows.
 */
describe('a killed process', () => {
  let directory: string
  let instance: Instance
  let api: Api
  let stage: Stage
  const data = randomBytes(32 * MiB)
  const sha512 = createHash('sha512').update(data).digest('hex')

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-crash-'))
    instance = await startInstance({ stateDirectory: join(directory, 'state') })
    api = await apiOf(instance)
    const wanted = { name: 'source', disk_format: 'raw', container_format: 'bare' }
    const imageId: string = (await api.image('POST', '/images', wanted)).body.id
    const headers = { 'content-type': 'application/octet-stream' }
    const put = await api.image('PUT', `/images/${imageId}/file`, data, headers)
    assert.equal(put.status, 204, JSON.stringify(put.body))
    const volume = { size: 1, name: 'base', imageRef: imageId }
    const { body } = await api.block('POST', '/volumes', { volume })
    stage = { api: () => api, baseId: body.volume.id, imageId, data, sha512 }
    await settled(api)
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

  /** Deletes all snapshots and volumes but the base, and looks at what the array still has. */
  async function assertNothingIsLeft(): Promise<void> {
    for (const { id } of (await api.block('GET', '/snapshots')).body.snapshots) {
      assert.equal((await api.block('DELETE', `/snapshots/${id}`)).status, 202)
    }
    await api.until(
      'the snapshots to go',
      () => api.block('GET', '/snapshots'),
      ({ body }) => body.snapshots.length === 0,
    )
    for (const { id } of (await api.block('GET', '/volumes')).body.volumes) {
      if (id === stage.baseId) continue
      const answer = await api.block('DELETE', `/volumes/${id}`)
      assert.equal(answer.status, 202, JSON.stringify(answer.body))
    }
    await api.until(
      'the volumes to go',
      () => api.block('GET', '/volumes'),
      ({ body }) => body.volumes.length === 1,
    )
    assert.deepEqual(await appInstances(instance), [`OS-base-${stage.baseId}`])
  }

  for (const { victim, kill } of [
    { victim: 'the controller', kill: killController },
    { victim: 'the array', kill: killArray },
  ]) {
    for (const delay of delays) {
      test(`${victim} killed ${delay} ms into every step: each is done or can be tried again`, async () => {
        const steps = await prepareSteps(stage)
        const begun = steps.map((step) => step.begin().catch(() => {})) // whom a broken connection tells nothing
        await new Promise((resolve) => setTimeout(resolve, delay))
        await kill()
        await Promise.all(begun)
        await settled(api)
        for (const step of steps) await step.check()
        await assertNothingIsLeft()
      })
    }
  }

  test('no file of an image is left', async () => {
    const files = await readdir(join(instance.stateDirectory, 'images'), { recursive: true })
    assert.deepEqual(
      files.filter((file) => !file.includes(stage.imageId)),
      [],
    )
  })
})
