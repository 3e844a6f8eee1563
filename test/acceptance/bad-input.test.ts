import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Answer, type Api, apiOf } from '../support/api.ts'
import { needPrograms } from '../support/debian-packages.ts'
import { type Instance, startInstance } from '../support/instance.ts'

const MiB = 1024 * 1024
const unknownId = '00000000-1111-4222-8333-444444444444'
const skip = needPrograms({ 'qemu-img': 'qemu-utils' })

/** What users get wrong, answered as upstream answers; and nothing is left behind. */
describe('bad input', { skip: skip ?? false }, () => {
  let directory: string
  let instance: Instance
  let api: Api
  let member: Api

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-bad-'))
    instance = await startInstance({ stateDirectory: join(directory, 'state') })
    api = await apiOf(instance)
    const project = await api.identity('POST', '/projects', { project: { name: 'other' } })
    const user = await api.identity('POST', '/users', { user: { name: 'eve', password: 'a long password' } })
    const roles = await api.identity('GET', '/roles?name=member')
    const assigned = await api.identity(
      'PUT',
      `/projects/${project.body.project.id}/users/${user.body.user.id}/roles/${roles.body.roles[0].id}`,
    )
    assert.equal(assigned.status, 204)
    member = await apiOf(instance, { username: 'eve', password: 'a long password', project: 'other' })
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  function assertFault(answer: Answer, status: number, kind: string, message: RegExp): void {
    const text = JSON.stringify(answer.body)
    assert.equal(answer.status, status, text)
    assert.deepEqual(Object.keys(answer.body), [kind], text)
    assert.equal(answer.body[kind].code, status)
    assert.match(answer.body[kind].message, message)
  }

  async function newVolume(body: object): Promise<Answer> {
    const created = await api.block('POST', '/volumes', { volume: body })
    if (created.status !== 202) return created
    return api.until(
      'the volume to settle',
      () => api.block('GET', `/volumes/${created.body.volume.id}`),
      (answer) => !answer.body.volume.status.endsWith('ing'),
    )
  }

  async function newImage(fields: object, data: Uint8Array): Promise<{ id: string; put: Answer }> {
    const image = await api.image('POST', '/images', { container_format: 'bare', ...fields })
    assert.equal(image.status, 201, JSON.stringify(image.body))
    const put = await api.image('PUT', `/images/${image.body.id}/file`, data, {
      'content-type': 'application/octet-stream',
    })
    return { id: image.body.id, put }
  }

  const imageFiles = () => readdir(join(instance.stateDirectory, 'images')).catch(() => [])

  test('volumes: wrong types, missing fields and names too long are 400, and no volume is made', async () => {
    const wrong = [
      {},
      { volume: { name: 'no size' } },
      { volume: { size: 'large' } },
      { volume: { size: 0 } },
      { volume: { size: -1 } },
      { volume: { size: 1, name: 'x'.repeat(256) } },
      { volume: { size: 1, metadata: { key: 'v'.repeat(256) } } },
      { volume: { size: 1, metadata: 'none' } },
      { volume: [] },
    ]
    for (const body of wrong) {
      const answer = await api.block('POST', '/volumes', body)
      assert.equal(answer.status, 400, `${JSON.stringify(body)} → ${JSON.stringify(answer.body)}`)
      assert.equal(answer.body.badRequest.code, 400)
    }
    assert.deepEqual((await api.block('GET', '/volumes')).body.volumes, [])
  })

  test('volumes: unknown ids are 404 or 400, as upstream has it for each', async () => {
    assertFault(await api.block('GET', `/volumes/${unknownId}`), 404, 'itemNotFound', /could not be found/)
    assertFault(await api.block('DELETE', `/volumes/${unknownId}`), 404, 'itemNotFound', /could not be found/)
    for (const source of ['snapshot_id', 'source_volid']) {
      const answer = await api.block('POST', '/volumes', { volume: { size: 1, [source]: unknownId } })
      assertFault(answer, 404, 'itemNotFound', /could not be found/)
    }
    const image = await api.block('POST', '/volumes', { volume: { size: 1, imageRef: unknownId } })
    assertFault(image, 400, 'badRequest', /Invalid image identifier|could not be found/)
    const type = await api.block('POST', '/volumes', { volume: { size: 1, volume_type: 'none such' } })
    assertFault(type, 404, 'itemNotFound', /could not be found/)
  })

  test("volumes and images of a foreign project are not there, and another project's URL is refused", async () => {
    const { body } = await newVolume({ size: 1, name: 'mine' })
    const { id } = await newImage({ name: 'mine', disk_format: 'raw' }, randomBytes(1024)).then(
      (image) => image,
    )
    assertFault(
      await member.block('GET', `/volumes/${body.volume.id}`),
      404,
      'itemNotFound',
      /could not be found/,
    )
    assertFault(
      await member.block('DELETE', `/volumes/${body.volume.id}`),
      404,
      'itemNotFound',
      /could not be found/,
    )
    assert.deepEqual((await member.block('GET', '/volumes')).body.volumes, [])
    assert.equal((await member.image('GET', `/images/${id}`)).status, 404)
    assert.equal((await member.image('DELETE', `/images/${id}`)).status, 404)
    const foreign = await fetch(`http://127.0.0.1:${instance.portBase + 1}/v3/${api.projectId}/volumes`, {
      headers: { 'x-auth-token': member.token },
    })
    assert.equal(foreign.status, 400)
    assert.equal((await fetch(`http://127.0.0.1:${instance.portBase + 1}/v3/volumes`)).status, 401)
    assert.equal((await api.image('DELETE', `/images/${id}`)).status, 204)
  })

  test('an image larger than the volume is refused before anything is made', async () => {
    const { id, put } = await newImage({ disk_format: 'raw', min_disk: 3 }, randomBytes(MiB))
    assert.equal(put.status, 204)
    const answer = await api.block('POST', '/volumes', { volume: { size: 1, imageRef: id } })
    assertFault(answer, 400, 'badRequest', /smaller than the image minDisk size 3GB/)
    assert.equal((await api.image('DELETE', `/images/${id}`)).status, 204)
  })

  test('a qcow2 whose disk is larger than the volume ends in error with a message, or is refused', async () => {
    const file = join(directory, 'large.qcow2')
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', file, '5G'])
    const { id, put } = await newImage({ disk_format: 'qcow2' }, await readFile(file))
    assert.equal(put.status, 204, JSON.stringify(put.body))
    const answer = await newVolume({ size: 1, imageRef: id })
    if (answer.status === 200) {
      assert.equal(answer.body.volume.status, 'error')
      const { body } = await api.block('GET', '/messages', undefined, '3.5')
      assert.ok(
        body.messages.some(
          (message: { resource_uuid: string }) => message.resource_uuid === answer.body.volume.id,
        ),
      )
      assert.equal((await api.block('DELETE', `/volumes/${answer.body.volume.id}`)).status, 202)
    } else {
      assert.equal(answer.status, 400)
    }
    assert.equal((await api.image('DELETE', `/images/${id}`)).status, 204)
  })

  test('a qcow2 with a backing file never becomes a volume', async () => {
    const base = join(directory, 'base.raw')
    const file = join(directory, 'backed.qcow2')
    await writeFile(base, randomBytes(MiB))
    execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', file])
    const { id, put } = await newImage({ disk_format: 'qcow2' }, await readFile(file))
    if (put.status === 204) {
      const answer = await newVolume({ size: 1, imageRef: id })
      assert.ok(answer.status === 400 || answer.body.volume.status === 'error', JSON.stringify(answer.body))
      if (answer.status === 200) await api.block('DELETE', `/volumes/${answer.body.volume.id}`)
    } else {
      assert.ok([400, 415].includes(put.status), JSON.stringify(put.body))
    }
    assert.equal((await api.image('DELETE', `/images/${id}`)).status, 204)
  })

  test('images: wrong fields are 400, unknown ids 404, data twice 409', async () => {
    const wrong = [
      { disk_format: 'floppy' },
      { name: 5 },
      { name: 'x'.repeat(256) },
      { min_disk: -1 },
      { visibility: 'everybody' },
      { id: 'not-a-uuid' },
    ]
    for (const body of wrong) {
      const answer = await api.image('POST', '/images', body)
      assert.equal(answer.status, 400, `${JSON.stringify(body)} → ${JSON.stringify(answer.body)}`)
    }
    assert.equal((await api.image('GET', `/images/${unknownId}`)).status, 404)
    assert.equal((await api.image('DELETE', `/images/${unknownId}`)).status, 404)
    const { id, put } = await newImage({ disk_format: 'raw' }, randomBytes(1000))
    assert.equal(put.status, 204)
    const again = await api.image('PUT', `/images/${id}/file`, randomBytes(1000), {
      'content-type': 'application/octet-stream',
    })
    assert.equal(again.status, 409, JSON.stringify(again.body))
    assert.equal((await api.image('DELETE', `/images/${id}`)).status, 204)
    const unnamed = await api.image('POST', '/images', { name: 'no format' })
    const early = await api.image('PUT', `/images/${unnamed.body.id}/file`, randomBytes(10), {
      'content-type': 'application/octet-stream',
    })
    assert.ok([400, 409].includes(early.status), `${early.status} ${JSON.stringify(early.body)}`)
    const bytes = await api.image('PUT', `/images/${unnamed.body.id}/file`, randomBytes(10), {
      'content-type': 'application/json',
    })
    assert.equal(bytes.status, 415)
    assert.equal((await api.image('DELETE', `/images/${unnamed.body.id}`)).status, 204)
  })

  test('an upload that is cut off leaves the image waiting for data and no file', async () => {
    const filesBefore = (await imageFiles()).length
    const image = await api.image('POST', '/images', { disk_format: 'raw', container_format: 'bare' })
    await new Promise<void>((resolve) => {
      const upload = httpRequest({
        host: '127.0.0.1',
        port: instance.portBase + 2,
        method: 'PUT',
        path: `/v2/images/${image.body.id}/file`,
        headers: {
          'x-auth-token': api.token,
          'content-type': 'application/octet-stream',
          'content-length': String(64 * MiB),
        },
      })
      upload.on('error', () => resolve())
      upload.write(randomBytes(8 * MiB), () => setTimeout(() => upload.destroy(new Error('cut')), 100))
    })
    await api.until(
      'the image to wait for data again',
      () => api.image('GET', `/images/${image.body.id}`),
      ({ body }) => body.status === 'queued',
    )
    assert.equal((await imageFiles()).length, filesBefore)
    assert.equal((await api.image('DELETE', `/images/${image.body.id}`)).status, 204)
  })

  test('two deletes of one volume at once: one wins, the other is told', async () => {
    const { body } = await newVolume({ size: 1, name: 'contested' })
    const answers = await Promise.all([
      api.block('DELETE', `/volumes/${body.volume.id}`),
      api.block('DELETE', `/volumes/${body.volume.id}`),
    ])
    const statuses = answers.map((answer) => answer.status).toSorted()
    assert.equal(statuses[0], 202)
    assert.ok([202, 400, 404].includes(statuses[1] ?? 0), String(statuses))
  })

  test('the process goes on after bodies that are no JSON, and paths that are nowhere', async () => {
    const base = `http://127.0.0.1:${instance.portBase + 1}/v3`
    const headers = { 'x-auth-token': api.token, 'content-type': 'application/json' }
    const broken = await fetch(`${base}/volumes`, { method: 'POST', headers, body: '{"volume":' })
    assert.equal(broken.status, 400)
    assert.equal((await fetch(`${base}/nowhere`, { headers })).status, 404)
    assert.equal((await fetch(`${base}/volumes/%00`, { headers })).status >= 400, true)
    assert.equal((await api.block('GET', '/volumes', undefined, '3.999')).status, 406)
    assert.equal((await api.block('GET', '/volumes')).status, 200)
  })
})
