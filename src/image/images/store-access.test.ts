import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { BackendError } from '../../kernel/errors.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import { defineImageStore, type StoreCall } from '../image-store.ts'
import { MemoryStore } from '../stores/memory.ts'
import { startTestService } from '../testing.ts'

type Readers = { readonly everybody: boolean; readonly projectIds: readonly string[] }

/** A store that has to be told who may read, and writes down what it was told. */
class GuardedStore extends MemoryStore {
  readonly told: { location: string; readers: Readers; by: string | undefined }[] = []
  refuses = false
  readonly access = {
    grant: async (location: string, readers: Readers, call: StoreCall) => {
      if (this.refuses) throw new BackendError('The store does not listen.', { left: 'nothing' })
      this.told.push({ location, readers, by: call.requester?.projectId })
    },
  }
}

const contents = { jobs: jobMigrations }
const octets = { 'content-type': 'application/octet-stream' }
const patchType = { 'content-type': 'application/openstack-images-v2.1-json-patch' }

onEachEngine((engine) => {
  test(`a store hears who may read an image as that changes, on ${engine.name}`, async () => {
    const store = new GuardedStore('guarded')
    const definition = defineImageStore({
      type: 'memory',
      schemes: ['memory'],
      options: {},
      create: () => store,
    })
    await using database = await engine.open<ImageTables>(contents)
    const conf = '[glance_store]\nstores = memory\ndefault_store = memory\n'
    await using service = await startTestService(database, { conf, definitions: [definition] })
    const create = async (visibility: string) => {
      const body = { disk_format: 'raw', container_format: 'bare', visibility }
      const answer = await service.call('alice', 'POST', '/v2/images', body)
      assert.equal(answer.status, 201, answer.text)
      return `/v2/images/${answer.json<{ id: string }>().id}`
    }
    const upload = async (image: string) =>
      (await service.call('alice', 'PUT', `${image}/file`, 'data', octets)).status
    const setVisibility = async (image: string, value: string) => {
      const patch = JSON.stringify([{ op: 'replace', path: '/visibility', value }])
      return (await service.call('admin', 'PATCH', image, patch, patchType)).status
    }
    const last = () => store.told.at(-1)?.readers

    const image = await create('shared')
    const members = `${image}/members`
    assert.equal((await service.call('alice', 'POST', members, { member: 'project-b' })).status, 200)
    assert.equal(store.told.length, 0, 'there is no data yet')
    assert.equal(await upload(image), 204)
    assert.deepEqual(last(), { everybody: false, projectIds: ['project-b'] })
    assert.equal(store.told.at(-1)?.by, 'project-a')

    assert.equal((await service.call('alice', 'POST', members, { member: 'project-c' })).status, 200)
    assert.deepEqual(last(), { everybody: false, projectIds: ['project-b', 'project-c'] })
    assert.equal((await service.call('alice', 'DELETE', `${members}/project-b`)).status, 204)
    assert.deepEqual(last(), { everybody: false, projectIds: ['project-c'] })

    assert.equal(await setVisibility(image, 'community'), 200)
    assert.deepEqual(last(), { everybody: true, projectIds: [] })
    assert.equal(await setVisibility(image, 'private'), 200)
    assert.deepEqual(last(), { everybody: false, projectIds: [] })
    assert.equal(await setVisibility(image, 'shared'), 200)
    assert.deepEqual(last(), { everybody: false, projectIds: ['project-c'] })

    const refused = await create('community')
    store.refuses = true
    assert.equal(await upload(refused), 500)
    assert.equal((await service.call('alice', 'GET', refused)).json()['status'], 'queued')
    assert.equal(store.imageIds.length, 1, 'nothing stays of the image whose readers were not admitted')
  })
})
