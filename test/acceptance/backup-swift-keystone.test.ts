import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { freePortBlock } from '../../src/main/free-ports.ts'
import { whyNoSwift } from '../../src/swift/test-support.ts'
import { type Api, apiOf } from '../support/api.ts'
import { arrayLogin } from '../support/array.ts'
import { withAttachedDisk } from '../support/attached-disk.ts'
import { type Instance, startInstance } from '../support/instance.ts'
import { volumeDigest } from '../support/volume-digest.ts'

const run = promisify(execFile)
const scripts = join(import.meta.dirname, '..', 'servers')
const MiB = 1024 * 1024
const dataBytes = 24 * MiB
// it takes half a minute, most of it the start of a Swift of its own
const isDeep = process.env['EMBERGLASS_TEST_DEEP'] === '1'
const skip = whyNoSwift() ?? (isDeep ? undefined : 'only with EMBERGLASS_TEST_DEEP=1')

/** Backups in a real Swift whose keystonemiddleware asks our identity service about each token. */
describe('backups in a Swift that Keystone guards', { skip: skip ?? false }, () => {
  let directory: string
  let instance: Instance
  let api: Api
  let swiftPort: number
  let userId: string

  const swift = (script: string, more: Record<string, string> = {}) =>
    run('bash', [join(scripts, script)], {
      timeout: 300_000,
      env: { ...process.env, STATE_DIR: join(directory, 'swift'), SWIFT_PORT: String(swiftPort), ...more },
    })

  async function made(path: string, key: string, body: object): Promise<string> {
    const answer = await api.identity('POST', path, { [key]: body })
    assert.equal(answer.status, 201, JSON.stringify(answer.body))
    return answer.body[key].id
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-keystone-swift-'))
    swiftPort = await freePortBlock()
    const stateDirectory = join(directory, 'state')
    instance = await startInstance({ stateDirectory })
    api = await apiOf(instance)
    const environment = await instance.environment()
    await swift('swift-up.sh', {
      SWIFT_KEYSTONE_URL: `http://127.0.0.1:${instance.portBase}/v3`,
      SWIFT_KEYSTONE_USER: environment['OS_USERNAME'] ?? '',
      SWIFT_KEYSTONE_PASSWORD: environment['OS_PASSWORD'] ?? '',
      SWIFT_KEYSTONE_PROJECT: environment['OS_PROJECT_NAME'] ?? '',
      SWIFT_KEYSTONE_CACHE_SECONDS: '-1',
    })
    const serviceId = await made('/services', 'service', { type: 'object-store', name: 'swift' })
    await made('/endpoints', 'endpoint', {
      service_id: serviceId,
      interface: 'public',
      url: `http://127.0.0.1:${swiftPort}/v1/KEY_%(project_id)s`,
    })
    const projectId = await made('/projects', 'project', { name: 'backups', domain_id: 'default' })
    const user = { name: 'keeper', password: 'keeps', domain_id: 'default' }
    userId = await made('/users', 'user', user)
    const { body } = await api.identity('GET', '/roles?name=member')
    const [role] = body.roles
    await api.identity('PUT', `/projects/${projectId}/users/${userId}/roles/${role.id}`)
    const edf = await arrayLogin(stateDirectory)
    const conf = `[DEFAULT]
enabled_backends = datera
default_volume_type = datera
backup_driver = cinder.backup.drivers.swift.SwiftBackupDriver
backup_swift_auth = single_user
backup_swift_auth_version = 3
backup_swift_auth_url = http://127.0.0.1:${instance.portBase}/v3
backup_swift_user = keeper
backup_swift_key = keeps
backup_swift_project = backups
backup_swift_user_domain = Default
backup_swift_project_domain = Default
backup_swift_object_size = 4194304
[datera]
volume_driver = cinder.volume.drivers.datera.datera_iscsi.DateraDriver
volume_backend_name = datera
san_ip = ${edf['EDF_HOST']}
san_login = ${edf['EDF_LOGIN']}
san_password = ${edf['EDF_PASSWORD']}
san_api_port = ${edf['EDF_PORT']}
`
    await instance.stop()
    await writeFile(join(stateDirectory, 'cinder.conf'), conf, { mode: 0o600 })
    instance = await startInstance({ stateDirectory, portBase: instance.portBase })
    api = await apiOf(instance)
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await swift('swift-down.sh')
    await rm(directory, { recursive: true, force: true })
  })

  async function settled(resource: 'volumes' | 'backups', id: string, wanted: string): Promise<void> {
    const key = resource.slice(0, -1)
    const { body } = await api.until(
      `${key} ${id} to be ${wanted}`,
      () => api.block('GET', `/${resource}/${id}`),
      ({ status, body: found }) =>
        status === 404 || found[key].status === wanted || found[key].status.startsWith('error'),
    )
    assert.equal(body[key]?.status, wanted, JSON.stringify(body))
  }

  test('a backup goes there and comes back, though its token is revoked in the middle', async () => {
    const data = randomBytes(dataBytes)
    const { body } = await api.block('POST', '/volumes', { volume: { size: 1, name: 'kept' } })
    const volumeId: string = body.volume.id
    await settled('volumes', volumeId, 'available')
    await withAttachedDisk(api, volumeId, async (disk, cancel) => {
      for (let at = 0; at < dataBytes; at += MiB) await disk.write(at, data.subarray(at, at + MiB), cancel)
      await disk.flush(cancel)
    })
    await settled('volumes', volumeId, 'available')
    const begun = await api.block('POST', '/backups', { backup: { volume_id: volumeId } })
    assert.equal(begun.status, 202, JSON.stringify(begun.body))
    const { id } = begun.body.backup
    await api.until(
      'a part of the backup',
      () => api.block('GET', `/backups/${id}/progress`),
      ({ body: found }) => found.progress !== null && found.progress.done_bytes > 0,
    )
    // a password that is set, even the same one, revokes every token of its user
    const set = await api.identity('PATCH', `/users/${userId}`, { user: { password: 'keeps' } })
    assert.equal(set.status, 200, JSON.stringify(set.body))
    await settled('backups', id, 'available')
    const restore = await api.block('POST', `/backups/${id}/restore`, { restore: {} })
    const restored: string = restore.body.restore.volume_id
    await settled('volumes', restored, 'available')
    const sha512 = createHash('sha512').update(data).digest('hex')
    assert.equal(await volumeDigest(api, restored, dataBytes), sha512)
  })
})
