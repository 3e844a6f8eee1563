import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { runEmberglass, startInstance } from '../support/instance.ts'

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

test('identity, images and volumes run in three processes that know of each other by configuration', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-keystone-'))
  try {
    await using keystone = await startInstance({
      stateDirectory: join(directory, 'keystone'),
      command: 'serve',
      arguments: ['--only', 'identity'],
    })
    const environment = await keystone.environment()
    const authtoken = [
      '[keystone_authtoken]',
      `auth_url = ${environment['OS_AUTH_URL']?.replace(/\/v3$/, '')}`,
      'username = admin',
      `password = ${environment['OS_PASSWORD']}`,
      'project_name = admin',
    ].join('\n')
    const state = { image: join(directory, 'image'), block: join(directory, 'block') }
    await mkdir(state.image)
    await mkdir(state.block)
    const files = join(directory, 'files')
    const glance = `[DEFAULT]\nenabled_backends = f:file\n[glance_store]\ndefault_backend = f\n[f]\nfilesystem_store_datadir = ${files}\n${authtoken}\n`
    await writeFile(join(state.image, 'glance-api.conf'), glance)
    await using images = await startInstance({
      stateDirectory: state.image,
      command: 'serve',
      arguments: ['--only', 'image'],
    })
    const imageUrl = `http://127.0.0.1:${images.portBase + 2}`
    const cinder = `[DEFAULT]\nenabled_backends = m\nglance_api_servers = ${imageUrl}\n[m]\nvolume_driver = memory\n${authtoken}\n`
    await writeFile(join(state.block, 'cinder.conf'), cinder)
    await using volumes = await startInstance({
      stateDirectory: state.block,
      command: 'serve',
      arguments: ['--only', 'block-storage'],
    })
    assert.match(volumes.output(), new RegExp(`identity +${environment['OS_AUTH_URL']}`))
    assert.ok(
      !(await readdir(state.block)).includes('openrc'),
      'no credentials of an identity service that is not there',
    )
    for (const port of [volumes.portBase, volumes.portBase + 2, images.portBase, images.portBase + 1]) {
      await assert.rejects(fetch(`http://127.0.0.1:${port}/`), `no service listens on port ${port}`)
    }

    const { token, projectId } = await logIn(environment)
    const block = `http://127.0.0.1:${volumes.portBase + 1}/v3/${projectId}`
    const headers = { 'x-auth-token': token, 'content-type': 'application/json' }
    const image = await fetch(`${imageUrl}/v2/images`, {
      ...{ method: 'POST', headers },
      body: JSON.stringify({ name: 'i', disk_format: 'raw', container_format: 'bare' }),
    })
    assert.equal(image.status, 201)
    const { id } = await json(image)
    const upload = await fetch(`${imageUrl}/v2/images/${id}/file`, {
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

test('a process that is asked for services without what they need says what is missing', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-serve-'))
  try {
    const serve = (...only: string[]) => runEmberglass(['serve', '--state-dir', directory, '--only', ...only])
    for (const [only, problem] of [
      ['image', /\[keystone_authtoken\] auth_url/],
      ['identity,block-storage', /glance_api_servers/],
      ['image,compute', /"compute" is none of them/],
    ] as const) {
      const { code, stderr } = await serve(only)
      assert.equal(code, 1)
      assert.match(stderr, problem)
    }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
})
