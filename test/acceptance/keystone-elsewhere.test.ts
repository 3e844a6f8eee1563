import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { freePortBlock } from '../../src/main/free-ports.ts'
import { startInstance } from '../support/instance.ts'

// biome-ignore lint/suspicious/noExplicitAny: what an outsider sees of JSON
const json = (response: Response): Promise<any> => response.json()

/** A token of the first instance's identity service. */
async function logIn(environment: Record<string, string>): Promise<{ token: string; projectId: string }> {
  const domain = { name: 'Default' }
  const response = await fetch(`${environment['OS_AUTH_URL']}/auth/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      auth: {
        identity: {
          methods: ['password'],
          password: { user: { name: 'admin', password: environment['OS_PASSWORD'], domain } },
        },
        scope: { project: { name: 'admin', domain } },
      },
    }),
  })
  assert.equal(response.status, 201)
  const { token } = await json(response)
  return { token: response.headers.get('x-subject-token') ?? '', projectId: token.project.id }
}

test('services whose configuration names a Keystone elsewhere ask that one, and start none', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-keystone-'))
  try {
    await using keystone = await startInstance({
      stateDirectory: join(directory, 'keystone'),
      arguments: ['--no-edf-node'],
    })
    const environment = await keystone.environment()
    const authtoken = [
      '[keystone_authtoken]',
      `auth_url = ${environment['OS_AUTH_URL']?.replace(/\/v3$/, '')}`,
      'username = admin',
      `password = ${environment['OS_PASSWORD']}`,
      'project_name = admin',
    ].join('\n')
    const state = join(directory, 'services')
    await mkdir(state)
    const cinder = `[DEFAULT]\nenabled_backends = m\n[m]\nvolume_driver = memory\n${authtoken}\n`
    await writeFile(join(state, 'cinder.conf'), cinder)
    const images = join(directory, 'images')
    const glance = `[DEFAULT]\nenabled_backends = f:file\n[glance_store]\ndefault_backend = f\n[f]\nfilesystem_store_datadir = ${images}\n${authtoken}\n`
    await writeFile(join(state, 'glance-api.conf'), glance)
    const portBase = await freePortBlock()
    await using services = await startInstance({
      ...{ stateDirectory: state, portBase },
      arguments: ['--no-edf-node'],
    })
    assert.match(services.output(), new RegExp(`identity +${environment['OS_AUTH_URL']}`))
    assert.ok(
      !(await readdir(state)).includes('openrc'),
      'no credentials of an identity service that is not there',
    )
    await assert.rejects(fetch(`http://127.0.0.1:${portBase}/v3`), 'no identity service listens')

    const { token, projectId } = await logIn(environment)
    const block = `http://127.0.0.1:${portBase + 1}/v3/${projectId}`
    const headers = { 'x-auth-token': token, 'content-type': 'application/json' }
    const image = await fetch(`http://127.0.0.1:${portBase + 2}/v2/images`, {
      ...{ method: 'POST', headers },
      body: JSON.stringify({ name: 'i', disk_format: 'raw', container_format: 'bare' }),
    })
    assert.equal(image.status, 201)
    const { id } = await json(image)
    const upload = await fetch(`http://127.0.0.1:${portBase + 2}/v2/images/${id}/file`, {
      method: 'PUT',
      headers: { 'x-auth-token': token, 'content-type': 'application/octet-stream' },
      body: new Uint8Array(1024),
    })
    assert.equal(upload.status, 204)
    const created = await fetch(`${block}/volumes`, {
      ...{ method: 'POST', headers },
      body: JSON.stringify({ volume: { size: 1, imageRef: id } }),
    })
    assert.equal(created.status, 202)
    const { volume } = await json(created)
    const deadline = Date.now() + 60_000
    let status = volume.status
    while (status !== 'available' && !status.startsWith('error') && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 200))
      status = (await json(await fetch(`${block}/volumes/${volume.id}`, { headers }))).volume.status
    }
    assert.equal(status, 'available', 'its bytes came through the Image API, with a token of that Keystone')
    assert.equal((await fetch(`${block}/volumes`, { headers: { 'x-auth-token': 'wrong' } })).status, 401)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
