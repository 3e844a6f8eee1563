import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openDatabase } from '../../kernel/db/database.ts'
import { migrate } from '../../kernel/db/migrate.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import type { ImageTables } from '../db/tables.ts'
import type { ImageEndpoint } from '../environment.ts'
import { startTestService } from '../testing.ts'

const conf = `[DEFAULT]
enabled_backends = local:file
enabled_import_methods = [glance-download]
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = $DIRECTORY/local
[os_glance_staging_store]
filesystem_store_datadir = $DIRECTORY/staging
`

async function region(t: TestContext, imageEndpoint?: ImageEndpoint) {
  const database = await openDatabase<ImageTables>('sqlite://')
  await migrate(database.kysely, 'jobs', jobMigrations)
  const more = imageEndpoint === undefined ? {} : { imageEndpoint }
  const service = await startTestService(database, { conf, ...more })
  t.after(async () => {
    await service[Symbol.asyncDispose]()
    await database[Symbol.asyncDispose]()
  })
  return {
    service,
    async create(body: object): Promise<string> {
      const answer = await service.call('alice', 'POST', '/v2/images', body)
      assert.equal(answer.status, 201, answer.text)
      return answer.json<{ id: string }>().id
    },
    async show(id: string): Promise<Record<string, unknown>> {
      return (await service.call('alice', 'GET', `/v2/images/${id}`)).json()
    },
  }
}

test("another region's image comes with its formats and properties, and only whole", async (t) => {
  const far = await region(t)
  const farUrl = await far.service.listen()
  const asked: object[] = []
  const near = await region(t, async (where, token) => {
    asked.push({ ...where, token })
    return `${farUrl}/v2`
  })
  const data = randomBytes(3_000_000)
  const remote = await far.create({
    disk_format: 'raw',
    container_format: 'bare',
    hw_disk_bus: 'scsi',
    os_distro: 'debian',
    secret_note: 'not to be copied',
  })
  const octets = { 'content-type': 'application/octet-stream' }
  const uploaded = await far.service.call('alice', 'PUT', `/v2/images/${remote}/file`, data, octets)
  assert.equal(uploaded.status, 204)

  const download = async (glance_image_id: string) => {
    const id = await near.create({ name: 'copy', disk_format: 'qcow2', container_format: 'ovf' })
    const method = { name: 'glance-download', glance_image_id, glance_region: 'far' }
    const answer = await near.service.call('alice', 'POST', `/v2/images/${id}/import`, { method })
    assert.equal(answer.status, 202, answer.text)
    await near.service.jobs.idle()
    return id
  }
  const id = await download(remote)
  assert.deepEqual(asked[0], { region: 'far', interface: 'public', token: 'alice' })
  const image = await near.show(id)
  assert.deepEqual(
    ['status', 'name', 'disk_format', 'container_format', 'hw_disk_bus', 'os_distro', 'secret_note'].map(
      (name) => image[name],
    ),
    ['active', 'copy', 'raw', 'bare', 'scsi', 'debian', undefined],
  )
  assert.equal(image['os_hash_value'], (await far.show(remote))['os_hash_value'])
  assert.ok((await near.service.call('alice', 'GET', `/v2/images/${id}/file`)).bytes.equals(data))

  const unready = await far.create({ disk_format: 'raw', container_format: 'bare' })
  await writeFile(join(far.service.directory, 'local', remote), randomBytes(data.byteLength))
  for (const [source, complaint] of [
    ['00000000-0000-4000-8000-000000000000', /no such image/],
    [unready, /only active images/],
    [remote, /does not have the hash/],
  ] as const) {
    const failed = await download(source)
    assert.equal((await near.show(failed))['status'], 'queued')
    const tasks = await near.service.call('alice', 'GET', `/v2/images/${failed}/tasks`)
    const [task] = tasks.json<{ tasks: { status: string; message: string }[] }>().tasks
    assert.equal(task?.status, 'failure')
    assert.match(task?.message ?? '', complaint)
  }
  assert.deepEqual(await readdir(join(near.service.directory, 'local')), [id])
  assert.deepEqual(await readdir(join(near.service.directory, 'staging')), [])
})
