import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type AppInstance, EdfClient } from '@emberglass/edf'
import { type EdfNode, startEdfNode } from '@emberglass/edf/node'
import { type Api, apiOf } from '../support/api.ts'
import { type Client, clientOf } from '../support/client.ts'
import { needPrograms } from '../support/debian-packages.ts'
import { type Instance, startInstance } from '../support/instance.ts'

const skip = needPrograms({
  openstack: 'python3-openstackclient',
  cinder: 'python3-cinderclient',
})
const guide = join(import.meta.dirname, '..', '..', 'docs', 'datera.md')
const call = { signal: new AbortController().signal }

/** The configuration and the commands of docs/datera.md, as they stand there, on an array that is not ours. */
describe('the guide to Datera', { skip: skip ?? false }, () => {
  let directory: string
  let node: EdfNode
  let array: EdfClient
  let instance: Instance
  let client: Client
  let api: Api
  let text: string

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-datera-'))
    text = await readFile(guide, 'utf8')
    node = await startEdfNode({
      directory: join(directory, 'array'),
      host: '127.0.0.1',
      httpPort: 0,
      httpsPort: 0,
      iscsi: { host: '127.0.0.1', port: 0 },
      adminPassword: 'password',
    })
    const port = Number(new URL(node.httpsUrl).port)
    array = await EdfClient.connect(
      { host: '127.0.0.1', port, login: 'admin', password: 'password', driver: 'Guide' },
      call,
    )
    const configuration = /```ini\n(.*?)```/s.exec(text)?.[1] ?? ''
    assert.match(configuration, /^san_ip = <VIP>$/m)
    const cinderConf = join(directory, 'cinder.conf')
    // What the guide does not have: the port, which is always the same for an array, and a second backend, to
    // migrate from.
    const second = '[local]\nvolume_driver = emberglass.local\ntarget_port = 0\n'
    const ours = configuration
      .replace('<VIP>', '127.0.0.1')
      .replace('enabled_backends = datera', 'enabled_backends = datera,local')
    await writeFile(cinderConf, `${ours}san_api_port = ${port}\n\n${second}`)
    instance = await startInstance({
      stateDirectory: join(directory, 'state'),
      arguments: ['--no-edf-node', '--cinder-conf', cinderConf],
    })
    client = await clientOf(instance)
    api = await apiOf(instance)
  })

  after(async () => {
    await client?.[Symbol.asyncDispose]()
    await instance?.[Symbol.asyncDispose]()
    await array?.close()
    await node?.close()
    await rm(directory, { recursive: true, force: true })
  })

  /** Runs a line of the guide. */
  async function type(line: string): Promise<string> {
    assert.ok(text.includes(`$ ${line}\n`), `the guide shows: ${line}`)
    const [program = '', ...argv] = line.split(' ')
    return await client(program, ...argv)
  }

  async function appInstances(): Promise<AppInstance[]> {
    return await array.in('/root').appInstances.list({}, call)
  }

  /** Asked over HTTP, because each run of a client takes seconds. */
  async function available(resource: 'volumes' | 'snapshots', name: string): Promise<{ id: string }> {
    const { body } = await api.until(
      `${name} to be available`,
      () => api.block('GET', `/${resource}/detail?name=${name}`),
      (answer) => answer.body[resource][0]?.status === 'available',
    )
    return body[resource][0]
  }

  /** What is on the array of an available volume. */
  async function volumeOf(name: string) {
    const { id } = await available('volumes', name)
    const found = (await appInstances()).find((each) => each.name === `OS-${name}-${id}`)
    const volume = found?.storage_instances[0]?.volumes[0]
    assert.ok(volume, `${name} is on the array under its name`)
    return volume
  }

  async function typed(name: string, volumeType: string): Promise<void> {
    await api.until(
      `${name} to be of type ${volumeType}`,
      () => api.block('GET', `/volumes/detail?name=${name}`),
      ({ body }) => body.volumes[0]?.volume_type === volumeType && body.volumes[0].status === 'available',
    )
  }

  async function gone(resource: 'volumes' | 'snapshots', name: string): Promise<void> {
    await api.until(
      `${name} to be gone`,
      () => api.block('GET', `/${resource}/detail?name=${name}`),
      (answer) => answer.body[resource].length === 0,
    )
  }

  test('a volume of the default type comes and goes', async () => {
    await type('openstack volume create myvolume --size 5')
    const volume = await volumeOf('myvolume')
    assert.deepEqual([volume.size, volume.replica_count], [5, 3])
    await type('openstack volume delete myvolume')
    await gone('volumes', 'myvolume')
    assert.deepEqual(await appInstances(), [])
  })

  test('types decide on replicas and limits', async () => {
    await type(
      'openstack volume type create mytype --property volume_backend_name=datera --property DF:replica_count=2',
    )
    await type('openstack volume create myvolume --size 10 --type mytype')
    await type(
      'openstack volume type create datera_2way --property volume_backend_name=datera --property DF:replica_count=2',
    )
    await type(
      'openstack volume type create datera_iops --property volume_backend_name=datera --property DF:write_iops_max=5000',
    )
    const limited = { volume: { name: 'limited', size: 1, volume_type: 'datera_iops' } }
    assert.equal((await api.block('POST', '/volumes', limited)).status, 202)
    assert.equal((await volumeOf('myvolume')).replica_count, 2)
    assert.equal((await volumeOf('limited')).performance_policy?.write_iops_max, 5000)
  })

  test('snapshots, and volumes made of them and of each other', async () => {
    await type('openstack volume snapshot create mysnap --volume myvolume')
    await available('snapshots', 'mysnap')
    await type('openstack volume create myvolume2 --size 10 --snapshot mysnap')
    await type('openstack volume create myvolume3 --size 10 --source myvolume')
    assert.equal((await volumeOf('myvolume2')).size, 10)
    assert.equal((await volumeOf('myvolume3')).size, 10)
    await type('openstack volume snapshot delete mysnap')
    await gone('snapshots', 'mysnap')
    assert.deepEqual((await volumeOf('myvolume')).snapshots, [])
    const readme = client('openstack', 'volume', 'create', 'myvolume2', '--size', '10', '--volume', 'mysnap')
    await assert.rejects(readme, /unrecognized arguments/, 'the client itself does not know it')
  })

  test('a volume becomes of another type where it lies, and one of another backend is copied', async () => {
    const other = { volume: { name: 'mycephvolume', size: 1, volume_type: 'local' } }
    assert.equal((await api.block('POST', '/volumes', other)).status, 202)
    await type(
      'openstack volume type create mynewtype --property volume_backend_name=datera --property DF:replica_count=4',
    )
    await type('cinder retype myvolume mynewtype --migration-policy never')
    await typed('myvolume', 'mynewtype')
    assert.equal((await volumeOf('myvolume')).replica_count, 4)
    await available('volumes', 'mycephvolume')
    await type(
      'openstack volume type create mydateratype --property volume_backend_name=datera --property DF:replica_count=4',
    )
    await type('cinder retype mycephvolume mydateratype --migration-policy on-demand')
    await typed('mycephvolume', 'mydateratype')
    assert.equal((await volumeOf('mycephvolume')).replica_count, 4)
  })

  test('the backend tells its settings with the driver-wide defaults', async () => {
    const { body } = await api.block('GET', '/scheduler-stats/get_pools')
    const names: string[] = body.pools.map(({ name }: { name: string }) => name)
    const host = names.find((name) => name.includes('@datera#'))?.split('#')[0] ?? ''
    const capabilities = await client('cinder', 'get-capabilities', host)
    for (const key of ['DF:replica_count', 'DF:placement_policy', 'DF:iops_per_gb', 'DF:ip_pool']) {
      assert.ok(capabilities.includes(key), key)
    }
    assert.match(capabilities, /vendor_name +\| +Datera/)
  })
})
