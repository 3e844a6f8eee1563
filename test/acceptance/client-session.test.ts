import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdtemp, open, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Client, ClientError, clientOf } from '../support/client.ts'
import { needPrograms } from '../support/debian-packages.ts'
import { type Instance, startInstance } from '../support/instance.ts'

const skip = needPrograms({
  openstack: 'python3-openstackclient',
  cinder: 'python3-cinderclient',
  'iscsi-inq': 'libiscsi-bin',
  'qemu-img': 'qemu-utils',
  '/usr/share/doc/qemu-block-extra': 'qemu-block-extra',
  glance: 'python3-glanceclient',
})
const servers = join(import.meta.dirname, '..', 'servers')
const admitted = 'iqn.1993-08.org.debian:01:acceptance'
const stranger = 'iqn.1993-08.org.debian:01:stranger'

/** The README's session, with the programs that people use. Each step builds on those before it. */
describe('the client session', { skip: skip ?? false }, () => {
  let directory: string
  let instance: Instance
  let client: Client
  const file = (name: string) => join(directory, name)

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-session-'))
    execFileSync(join(servers, 'boot-image.sh'), [file('disk.raw')], { stdio: 'ignore' })
    execFileSync('qemu-img', ['convert', '-O', 'qcow2', file('disk.raw'), file('disk.qcow2')])
    instance = await startInstance({ stateDirectory: file('state') })
    client = await clientOf(instance)
  })

  after(async () => {
    await client?.[Symbol.asyncDispose]()
    await instance?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  /** Attaches a volume and says where qemu finds it. */
  async function attach(volume: string): Promise<{ id: string; portal: string; iqn: string; lun: number }> {
    const { id: volumeId } = await client.json<{ id: string }>('volume', 'show', volume)
    const table = await client(
      'cinder',
      ...['--os-volume-api-version', '3.44', 'attachment-create', '--connect', 'True'],
      ...['--initiator', admitted, '--ip', '127.0.0.1', '--host', 'acceptance', '--multipath', 'False'],
      ...['--mountpoint', '/dev/vdb', volumeId],
    )
    const cell = (name: string) =>
      table
        .split('\n')
        .map((line) => line.split('|').map((part) => part.trim()))
        .find((parts) => parts[1] === name)?.[2] ?? ''
    assert.equal(cell('driver_volume_type'), 'iscsi', table)
    assert.match(cell('target_iqn'), /^iqn\./)
    return {
      id: cell('ID') || cell('id') || cell('attachment_id'),
      portal: cell('target_portal'),
      iqn: cell('target_iqn'),
      lun: Number(cell('target_lun')),
    }
  }

  async function detach(attachmentId: string): Promise<void> {
    await client('cinder', '--os-volume-api-version', '3.44', 'attachment-delete', attachmentId)
  }

  const disk = (at: { portal: string; iqn: string; lun: number }, initiator: string) =>
    `driver=iscsi,transport=tcp,portal=${at.portal},target=${at.iqn},lun=${at.lun},initiator-name=${initiator}`

  /** Compares a volume's first bytes with a file's, through qemu's own iSCSI initiator. */
  async function assertHolds(volume: string, rawFile: string): Promise<void> {
    const at = await attach(volume)
    try {
      await client(
        'qemu-img',
        'compare',
        '--image-opts',
        disk(at, admitted),
        `driver=raw,file.driver=file,file.filename=${rawFile}`,
      )
    } finally {
      await detach(at.id)
    }
  }

  test('a token is issued and the catalog names the three services', async () => {
    const token = await client.json<{ id: string; project_id: string }>('token', 'issue')
    assert.match(token.project_id, /^[0-9a-f]{32}$/)
    const catalog = await client.json<{ Type: string }[]>('catalog', 'list')
    const types = catalog.map((entry) => entry.Type)
    for (const type of ['identity', 'volumev3', 'image'])
      assert.ok(types.includes(type), `${type} in ${types}`)
  })

  test('a qcow2 image is uploaded and downloaded unchanged', async () => {
    const created = await client.json<{ status: string; disk_format: string }>(
      ...[
        'image',
        'create',
        '--disk-format',
        'qcow2',
        '--container-format',
        'bare',
        '--file',
        file('disk.qcow2'),
        'demo',
      ],
    )
    assert.equal(created.disk_format, 'qcow2')
    const shown = await client.until(['image'], 'demo', ['active'])
    assert.equal(shown['size'], (await stat(file('disk.qcow2'))).size)
    await client('openstack', 'image', 'save', '--file', file('saved.qcow2'), 'demo')
    await client('cmp', file('disk.qcow2'), file('saved.qcow2'))
  })

  test('a bootable volume made of it holds the raw disk', async () => {
    await client('openstack', 'volume', 'create', '--image', 'demo', '--size', '2', '--bootable', 'demo-vol')
    const shown = await client.until(['volume'], 'demo-vol', ['available'])
    assert.equal(shown['size'], 2)
    assert.equal(shown['bootable'], 'true')
    await assertHolds('demo-vol', file('disk.raw'))
  })

  test('another initiator is refused', async () => {
    const at = await attach('demo-vol')
    const url = `iscsi://${at.portal}/${at.iqn}/${at.lun}`
    const inquiry = await client('iscsi-inq', '-i', admitted, url)
    assert.match(inquiry, /DATERA/)
    await assert.rejects(client('iscsi-inq', '-i', stranger, url), ClientError)
    await assert.rejects(client('qemu-img', 'info', '--image-opts', disk(at, stranger)), ClientError)
    await detach(at.id)
    await assert.rejects(client('iscsi-inq', '-i', admitted, url), ClientError)
  })

  test('volumes are listed, shown, changed and deleted', async () => {
    await client('openstack', 'volume', 'create', '--size', '1', 'plain')
    await client.until(['volume'], 'plain', ['available'])
    await client('openstack', 'volume', 'set', '--name', 'renamed', '--property', 'tier=gold', 'plain')
    const shown = await client.json<{ name: string; properties: Record<string, string> }>(
      'volume',
      'show',
      'renamed',
    )
    assert.deepEqual(shown.properties, { tier: 'gold' })
    await client('openstack', 'volume', 'set', '--size', '2', 'renamed')
    assert.equal((await client.until(['volume'], 'renamed', ['available']))['size'], 2)
    const names = async () => (await client.json<{ Name: string }[]>('volume', 'list')).map((row) => row.Name)
    assert.ok((await names()).includes('renamed'))
    await client('openstack', 'volume', 'delete', 'renamed')
    const deadline = Date.now() + 60_000
    while ((await names()).includes('renamed')) assert.ok(Date.now() < deadline, 'the volume is still listed')
  })

  test('snapshots and clones hold what their source held', async () => {
    await client('openstack', 'volume', 'snapshot', 'create', '--volume', 'demo-vol', 'demo-snap')
    await client.until(['volume', 'snapshot'], 'demo-snap', ['available'])
    await client('openstack', 'volume', 'create', '--snapshot', 'demo-snap', '--size', '3', 'from-snap')
    await client('openstack', 'volume', 'create', '--source', 'demo-vol', '--size', '2', 'from-vol')
    await client.until(['volume'], 'from-snap', ['available'])
    await client.until(['volume'], 'from-vol', ['available'])
    await assertHolds('from-snap', file('disk.raw'))
    await assertHolds('from-vol', file('disk.raw'))
  })

  test('the same raw image, and 1 GiB of random bytes, arrive whole', async () => {
    await client(
      'openstack',
      'image',
      'create',
      '--disk-format',
      'raw',
      '--file',
      file('disk.raw'),
      'demo-raw',
    )
    await makeRandom(file('random.raw'), 1024)
    await client(
      'openstack',
      'image',
      'create',
      '--disk-format',
      'raw',
      '--file',
      file('random.raw'),
      'random',
    )
    await client('openstack', 'volume', 'create', '--image', 'demo-raw', '--size', '1', 'raw-vol')
    await client('openstack', 'volume', 'create', '--image', 'random', '--size', '1', 'random-vol')
    await client.until(['volume'], 'raw-vol', ['available'])
    await client.until(['volume'], 'random-vol', ['available'])
    await assertHolds('raw-vol', file('disk.raw'))
    await assertHolds('random-vol', file('random.raw'))
  })

  test('an image on the array comes back unchanged', async () => {
    await client(
      'glance',
      'image-create',
      '--name',
      'on-array',
      '--disk-format',
      'raw',
      '--container-format',
      'bare',
      '--file',
      file('disk.raw'),
      '--store',
      'datera',
    )
    const shown = await client.until(['image'], 'on-array', ['active'])
    assert.match(JSON.stringify(shown), /datera/)
    await client('openstack', 'image', 'save', '--file', file('saved.raw'), 'on-array')
    await client('cmp', file('disk.raw'), file('saved.raw'))
  })

  test('everything is still there after a restart', async () => {
    assert.equal(await instance.stop(), 0, instance.output())
    instance = await startInstance({ stateDirectory: file('state'), portBase: instance.portBase })
    await assertHolds('demo-vol', file('disk.raw'))
    await assertHolds('random-vol', file('random.raw'))
    await client('openstack', 'image', 'save', '--file', file('saved.qcow2'), 'demo')
    await client('cmp', file('disk.qcow2'), file('saved.qcow2'))
  })

  test('sources go before what was made of them, and nothing is left', async () => {
    await client('openstack', 'volume', 'snapshot', 'delete', 'demo-snap')
    const volumes = (await client.json<{ Name: string }[]>('volume', 'list')).map((row) => row.Name)
    const deadline = Date.now() + 60_000
    const left = async (...list: string[]) => (await client.json<unknown[]>(...list)).length
    while ((await left('volume', 'snapshot', 'list')) > 0)
      assert.ok(Date.now() < deadline, 'a snapshot is left')
    await client('openstack', 'volume', 'delete', ...volumes)
    while ((await left('volume', 'list')) > 0) assert.ok(Date.now() < deadline, 'a volume is left')
    const images = (await client.json<{ ID: string }[]>('image', 'list')).map((row) => row.ID)
    await client('openstack', 'image', 'delete', ...images)
    assert.equal(await left('image', 'list'), 0)
  })
})

/** A file of random bytes. @param mebibytes its size in MiB */
async function makeRandom(path: string, mebibytes: number): Promise<void> {
  await using handle = await open(path, 'w')
  const chunk = new Uint8Array(8 * 1024 * 1024)
  for (let done = 0; done < mebibytes; done += 8) await handle.write(randomFillSync(chunk))
}
