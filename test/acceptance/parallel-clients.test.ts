import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Answer, type Api, apiOf } from '../support/api.ts'
import { appInstances } from '../support/array.ts'
import { type Instance, startInstance } from '../support/instance.ts'

const clients = 32
/** Volumes in all; 1,000 with EMBERGLASS_TEST_DEEP=1. */
const volumes = process.env['EMBERGLASS_TEST_DEEP'] === '1' ? 1_000 : 64

/** Many clients at once, each with volumes of its own: no error, no leak, and the quota adds up. */
describe(`${clients} clients at once`, () => {
  let directory: string
  let instance: Instance
  let api: Api

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-parallel-'))
    instance = await startInstance({ stateDirectory: join(directory, 'state') })
    api = await apiOf(instance)
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  async function ok(answer: Promise<Answer>, status: number): Promise<Answer['body']> {
    const { status: got, body } = await answer
    assert.equal(got, status, JSON.stringify(body))
    return body
  }

  async function becomes(path: string, key: string, status: string): Promise<void> {
    const { body } = await api.until(
      `${path} to become ${status}`,
      () => api.block('GET', path),
      (answer) => answer.body[key].status === status || answer.body[key].status.startsWith('error'),
    )
    assert.equal(body[key].status, status)
  }

  async function gone(path: string): Promise<void> {
    await api.until(
      `${path} to go`,
      () => api.block('GET', path),
      (answer) => answer.status === 404,
    )
  }

  /** The life of one volume. */
  async function live(client: number): Promise<void> {
    const { volume } = await ok(
      api.block('POST', '/volumes', { volume: { size: 1, name: `v-${client}` } }),
      202,
    )
    const path = `/volumes/${volume.id}`
    await becomes(path, 'volume', 'available')
    const attachment = {
      volume_uuid: volume.id,
      connector: { initiator: `iqn.1993-08.org.debian:01:${client}`, host: `c${client}`, ip: '127.0.0.1' },
    }
    const attached = await ok(api.block('POST', '/attachments', { attachment }, '3.44'), 200)
    const attachmentPath = `/attachments/${attached.attachment.id}`
    await ok(api.block('POST', `${attachmentPath}/action`, { 'os-complete': {} }, '3.44'), 204)
    const wanted = { snapshot: { volume_id: volume.id, force: true } }
    const { snapshot } = await ok(api.block('POST', '/snapshots', wanted), 202)
    await becomes(`/snapshots/${snapshot.id}`, 'snapshot', 'available')
    await ok(api.block('DELETE', attachmentPath, undefined, '3.44'), 200)
    await ok(api.block('DELETE', `/snapshots/${snapshot.id}`), 202)
    await gone(`/snapshots/${snapshot.id}`)
    await ok(api.block('DELETE', path), 202)
    await gone(path)
  }

  test(`create, attach, snapshot and delete ${volumes} volumes`, async () => {
    const quota = { quota_set: { volumes: clients, snapshots: clients, gigabytes: 2 * clients } }
    await ok(api.block('PUT', `/os-quota-sets/${api.projectId}`, quota), 200)
    let left = volumes
    await Promise.all(
      Array.from({ length: clients }, async (_, client) => {
        while (left-- > 0) await live(client)
      }),
    )
    const usage = await ok(api.block('GET', `/os-quota-sets/${api.projectId}?usage=true`), 200)
    for (const resource of ['volumes', 'gigabytes', 'snapshots']) {
      assert.equal(usage.quota_set[resource].in_use, 0, resource)
      assert.equal(usage.quota_set[resource].reserved, 0, resource)
    }
    assert.deepEqual(await appInstances(instance), [])
  })
})
