import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Api, apiOf } from '../support/api.ts'
import { appInstances, arrayLogin } from '../support/array.ts'
import { type Instance, startInstance } from '../support/instance.ts'
import { volumeDigest } from '../support/volume-digest.ts'

const MiB = 1024 * 1024
/** Milliseconds into an operation at which the process is killed; a longer list with EMBERGLASS_TEST_DEEP=1. */
const delays =
  process.env['EMBERGLASS_TEST_DEEP'] === '1' ? [0, 10, 30, 60, 100, 200, 400, 700, 1200] : [20, 250]

/** A volume of 1 GiB takes its time: so many uploads are interrupted. */
const uploads = process.env['EMBERGLASS_TEST_DEEP'] === '1' ? delays.length : 1

/**
 * `kill -9` while a volume's bytes are moved, uploaded or taken back: afterwards the volume is whole, of one of the
 * two types, in no state that ends in "ing", and the array holds nothing else.
 */
describe('a process that is killed while bytes move', () => {
  let directory: string
  let instance: Instance
  let api: Api
  let imageId: string
  const data = randomBytes(64 * MiB)
  const sha512 = createHash('sha512').update(data).digest('hex')

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-crash-moves-'))
    const stateDirectory = join(directory, 'state')
    const first = await startInstance({ stateDirectory })
    const { portBase } = first
    await first.stop()
    await writeFile(join(stateDirectory, 'cinder.conf'), await twoBackends(stateDirectory), { mode: 0o600 })
    instance = await startInstance({ stateDirectory, portBase })
    api = await apiOf(instance)
    for (const name of ['one', 'two']) {
      const extra_specs = { volume_backend_name: name }
      await api.block('POST', '/types', { volume_type: { name, extra_specs } })
    }
    const image = await api.image('POST', '/images', { disk_format: 'raw', container_format: 'bare' })
    imageId = image.body.id
    const headers = { 'content-type': 'application/octet-stream' }
    assert.equal((await api.image('PUT', `/images/${imageId}/file`, data, headers)).status, 204)
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  /** `cinder.conf` with the embedded array as two backends. */
  async function twoBackends(stateDirectory: string): Promise<string> {
    const edf = await arrayLogin(stateDirectory)
    const section = (name: string) => `
[${name}]
volume_driver = cinder.volume.drivers.datera.datera_iscsi.DateraDriver
volume_backend_name = ${name}
san_ip = ${edf['EDF_HOST']}
san_login = ${edf['EDF_LOGIN']}
san_password = ${edf['EDF_PASSWORD']}
san_api_port = ${edf['EDF_PORT']}
driver_ssl_cert_verify = false
`
    return `[DEFAULT]\nenabled_backends = one,two\n${section('one')}${section('two')}`
  }

  async function killAndStart(): Promise<void> {
    await instance.kill()
    instance = await startInstance({ stateDirectory: instance.stateDirectory, portBase: instance.portBase })
    api = await apiOf(instance)
  }

  const shown = (id: string) => api.block('GET', `/volumes/${id}`)

  async function settled(id: string) {
    const busy = ['starting', 'migrating', 'completing']
    const { body } = await api.until(
      'the volume to settle',
      () => shown(id),
      ({ body: { volume } }) =>
        !/ing$/.test(volume.status) && !busy.includes(volume['os-vol-mig-status-attr:migstat']),
    )
    return body.volume
  }

  async function filledVolume(): Promise<string> {
    const volume = { size: 1, volume_type: 'one', imageRef: imageId }
    const created = await api.block('POST', '/volumes', { volume })
    assert.equal(created.status, 202, JSON.stringify(created.body))
    assert.equal((await settled(created.body.volume.id)).status, 'available')
    return created.body.volume.id
  }

  async function interrupted(id: string, action: object, delay: number, version = '3.40') {
    const answer = await api.block('POST', `/volumes/${id}/action`, action, version)
    assert.equal(answer.status, 202, JSON.stringify(answer.body))
    await new Promise((resolve) => setTimeout(resolve, delay))
    await killAndStart()
    return answer
  }

  async function deleteAndLook(id: string): Promise<void> {
    assert.equal((await api.block('DELETE', `/volumes/${id}?cascade=true`)).status, 202)
    await api.until(
      'the volumes to go',
      () => api.block('GET', '/volumes?all_tenants=1'),
      ({ body }) => body.volumes.length === 0,
    )
    assert.deepEqual(await appInstances(instance), [])
    const usage = await api.block('GET', `/os-quota-sets/${api.projectId}?usage=true`)
    for (const resource of ['volumes', 'gigabytes', 'snapshots', 'gigabytes_one', 'gigabytes_two']) {
      const { in_use, reserved } = usage.body.quota_set[resource]
      assert.deepEqual([resource, in_use, reserved], [resource, 0, 0])
    }
  }

  test('a retype that migrates ends here or there, with every byte', async () => {
    const id = await filledVolume()
    let type = 'one'
    for (const delay of delays) {
      const wanted = type === 'one' ? 'two' : 'one'
      const action = { 'os-retype': { new_type: wanted, migration_policy: 'on-demand' } }
      await interrupted(id, action, delay)
      const after = await settled(id)
      assert.equal(after.status, 'available')
      assert.ok([type, wanted].includes(after.volume_type))
      assert.ok(after['os-vol-host-attr:host'].includes(`@${after.volume_type}#`))
      type = after.volume_type
      assert.equal(await volumeDigest(api, id, data.byteLength), sha512)
    }
    await deleteAndLook(id)
  })

  test('an upload to an image and a revert end, and leave the volume whole', async () => {
    const id = await filledVolume()
    for (const delay of delays.slice(-uploads)) {
      const upload = { 'os-volume_upload_image': { image_name: `crash-${delay}` } }
      const { body } = await interrupted(id, upload, delay)
      assert.equal((await settled(id)).status, 'available')
      const image = await api.image('GET', `/images/${body['os-volume_upload_image'].image_id}`)
      assert.ok(image.status === 404 || image.body.status === 'active', JSON.stringify(image.body))
      if (image.status === 200) await api.image('DELETE', `/images/${image.body.id}`)
    }
    const { body } = await api.block('POST', '/snapshots', { snapshot: { volume_id: id } })
    await api.until(
      'the snapshot',
      () => api.block('GET', `/snapshots/${body.snapshot.id}`),
      (answer) => answer.body.snapshot.status === 'available',
    )
    for (const delay of delays) {
      await interrupted(id, { revert: { snapshot_id: body.snapshot.id } }, delay)
      assert.equal((await settled(id)).status, 'available')
      assert.equal(await volumeDigest(api, id, data.byteLength), sha512)
    }
    await deleteAndLook(id)
  })
})
