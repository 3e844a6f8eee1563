import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type EdfNode, startEdfNode } from '@emberglass/edf/node'
import { type TestCeph, testCeph } from '../../src/ceph/testing.ts'
import { type Api, apiOf } from '../support/api.ts'
import { needPrograms } from '../support/debian-packages.ts'
import { type Instance, startInstance } from '../support/instance.ts'
import { volumeDigest } from '../support/volume-digest.ts'

const skip = needPrograms({ rbd: 'ceph-common', 'ceph-mon': 'ceph-mon', 'ceph-osd': 'ceph-osd' })
const MiB = 1024 * 1024

/** Retyping with `--migration-policy on-demand` takes a volume from a real Ceph to the array, and back. */
describe('a volume between Ceph and the array', { skip: skip ?? false }, () => {
  const data = randomBytes(16 * MiB)
  const sha512 = createHash('sha512').update(data).digest('hex')
  let directory: string
  let ceph: TestCeph
  let pool: Awaited<ReturnType<TestCeph['pool']>>
  let node: EdfNode
  let instance: Instance
  let api: Api

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-retype-'))
    ceph = await testCeph()
    pool = await ceph.pool()
    node = await startEdfNode({
      directory: join(directory, 'array'),
      host: '127.0.0.1',
      httpPort: 0,
      httpsPort: 0,
      iscsi: { host: '127.0.0.1', port: 0 },
      adminPassword: 'password',
    })
    const cinderConf = join(directory, 'cinder.conf')
    await writeFile(
      cinderConf,
      `[DEFAULT]
enabled_backends = datera,ceph
default_volume_type = datera

[datera]
volume_driver = cinder.volume.drivers.datera.datera_iscsi.DateraDriver
san_ip = 127.0.0.1
san_api_port = ${new URL(node.httpsUrl).port}
san_login = admin
san_password = password
driver_ssl_cert_verify = false

[ceph]
volume_driver = cinder.volume.drivers.rbd.RBDDriver
rbd_pool = ${pool.name}
rbd_ceph_conf = ${ceph.settings.configurationFile}
`,
    )
    instance = await startInstance({
      stateDirectory: join(directory, 'state'),
      arguments: ['--no-edf-node', '--cinder-conf', cinderConf],
    })
    api = await apiOf(instance)
    const extra_specs = { volume_backend_name: 'ceph' }
    await api.block('POST', '/types', { volume_type: { name: 'cephvolume', extra_specs } })
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await node?.close()
    await pool?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  const images = async () => (await ceph.rbd('ls', pool.name)).split('\n').filter(Boolean)

  async function untilAvailable(id: string) {
    const { body } = await api.until(
      'the volume to rest',
      () => api.block('GET', `/volumes/${id}`),
      ({ body: { volume } }) =>
        /^(available|error)/.test(volume.status) &&
        [null, 'success', 'error'].includes(volume['os-vol-mig-status-attr:migstat']),
    )
    return body.volume
  }

  async function retype(id: string, to: string): Promise<void> {
    const answer = await api.block('POST', `/volumes/${id}/action`, {
      'os-retype': { new_type: to, migration_policy: 'on-demand' },
    })
    assert.equal(answer.status, 202, JSON.stringify(answer.body))
    const volume = await untilAvailable(id)
    assert.deepEqual([volume.status, volume.volume_type], ['available', to])
    const backend = to === 'datera' ? 'datera' : 'ceph'
    assert.match(volume['os-vol-host-attr:host'], new RegExp(`@${backend}#`))
  }

  /** SHA-512 of the bytes in Ceph, as its own program reads them. */
  async function digestInCeph(): Promise<string> {
    const [name, ...others] = await images()
    assert.ok(name)
    assert.deepEqual(others, [], 'one image, and nothing left of the copy')
    const file = join(directory, 'exported')
    const argv = ['-c', ceph.settings.configurationFile, 'export', `${pool.name}/${name}`, file]
    const { status, stderr } = spawnSync('rbd', argv, { encoding: 'utf8' })
    assert.equal(status, 0, stderr)
    const bytes = (await readFile(file)).subarray(0, data.byteLength)
    await rm(file)
    return createHash('sha512').update(bytes).digest('hex')
  }

  test('moves with its bytes when it is retyped, and says how far it is', async () => {
    const image = await api.image('POST', '/images', { disk_format: 'raw', container_format: 'bare' })
    const headers = { 'content-type': 'application/octet-stream' }
    const sent = await api.image('PUT', `/images/${image.body.id}/file`, data, headers)
    assert.equal(sent.status, 204)
    const created = await api.block('POST', '/volumes', {
      volume: { size: 1, volume_type: 'cephvolume', imageRef: image.body.id },
    })
    assert.equal(created.status, 202, JSON.stringify(created.body))
    const { id } = await untilAvailable(created.body.volume.id)
    assert.equal(await digestInCeph(), sha512)

    await retype(id, 'datera')
    assert.equal(await volumeDigest(api, id, data.byteLength), sha512)
    assert.deepEqual(await images(), [], 'nothing stays in Ceph')

    await retype(id, 'cephvolume')
    assert.equal(await digestInCeph(), sha512)
    assert.match(
      await readFile(join(directory, 'state', 'log', 'emberglass.log'), 'utf8'),
      /"percent":\d+.*being migrated/,
    )
  })
})
