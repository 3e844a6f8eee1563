import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type BlockDevice, readBytes } from '@emberglass/iscsi'
import { type TestCeph, testCeph } from '../../src/ceph/testing.ts'
import { type Api, apiOf } from '../support/api.ts'
import { appInstances, arrayLogin } from '../support/array.ts'
import { withAttachedDisk } from '../support/attached-disk.ts'
import { clientOf } from '../support/client.ts'
import { needPrograms } from '../support/debian-packages.ts'
import { type Instance, startInstance } from '../support/instance.ts'
import { volumeDigest } from '../support/volume-digest.ts'

const skip = needPrograms({ openstack: 'python3-openstackclient' })
const guide = join(import.meta.dirname, '..', '..', 'docs', 'backup.md')
const MiB = 1024 * 1024
/** States in which nothing happens any more. */
const failures = ['error', 'error_deleting', 'error_restoring', 'error_backing-up']
/** Between the blocks that are written to all the time. */
const strideBytes = 256 * 1024
const dataBytes = 24 * MiB
/** Milliseconds into an operation at which the process is killed; a longer list with EMBERGLASS_TEST_DEEP=1. */
const isDeep = process.env['EMBERGLASS_TEST_DEEP'] === '1'
const delaysOf = (usual: readonly number[]) => (isDeep ? [0, 20, 60, 120, 250, 500, 900, 1500] : usual)

/** The configuration and the commands of docs/backup.md, on an array and a real Ceph; then kills in the middle. */
describe('backups on an array and on Ceph', { skip: skip ?? false }, () => {
  let directory: string
  let ceph: TestCeph
  let instance: Instance
  let api: Api
  let text: string
  const data = randomBytes(dataBytes)
  const sha512 = createHash('sha512').update(data).digest('hex')

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-backup-'))
    text = await readFile(guide, 'utf8')
    ceph = await testCeph()
    const stateDirectory = join(directory, 'state')
    const first = await startInstance({ stateDirectory }) // makes the array's password
    await first.stop()
    const edf = await arrayLogin(stateDirectory)
    const [shown = ''] = /^ {4}\[DEFAULT\]\n(?: {4}.*\n)+/m.exec(text) ?? [] // the first of the guide's
    assert.match(shown, /^ {4}backup_datera_secondary_backup_drivers = cinder.backup.drivers.ceph$/m)
    const ours = shown
      .replace(/^ {4}/gm, '')
      .replace('192.0.2.10', edf['EDF_HOST'] ?? '')
      .replace('san_login = admin', `san_login = ${edf['EDF_LOGIN']}`)
      .replace('san_password = …', `san_password = ${edf['EDF_PASSWORD']}`)
      .replace('/etc/ceph/ceph.conf', ceph.settings.configurationFile)
    // The array takes a GiB as one object: zlib needs 4 s of a processor for its zeroes.
    const conf = `${ours}
backup_compression_algorithm = zstd
backup_datera_api_port = ${edf['EDF_PORT']}
backup_driver_use_ssl = true
enabled_backends = datera
default_volume_type = datera
[datera]
volume_driver = cinder.volume.drivers.datera.datera_iscsi.DateraDriver
volume_backend_name = datera
san_ip = ${edf['EDF_HOST']}
san_login = ${edf['EDF_LOGIN']}
san_password = ${edf['EDF_PASSWORD']}
san_api_port = ${edf['EDF_PORT']}
`
    await writeFile(join(stateDirectory, 'cinder.conf'), conf, { mode: 0o600 })
    instance = await startInstance({ stateDirectory, portBase: first.portBase })
    api = await apiOf(instance)
  })
  after(async () => {
    await instance?.[Symbol.asyncDispose]()
    await rm(directory, { recursive: true, force: true })
  })

  async function volume(name: string): Promise<string> {
    const { body, status } = await api.block('POST', '/volumes', { volume: { size: 1, name } })
    assert.equal(status, 202, JSON.stringify(body))
    await settled('volumes', body.volume.id, ['available'])
    return body.volume.id
  }

  async function filled(name: string): Promise<string> {
    const id = await volume(name)
    await withAttachedDisk(api, id, async (disk, cancel) => {
      for (let at = 0; at < data.byteLength; at += MiB) {
        await disk.write(at, data.subarray(at, at + MiB), cancel)
      }
      await disk.flush(cancel)
    })
    await settled('volumes', id, ['available'])
    return id
  }

  /** Waits for one of these states; `gone` is one too. @returns which */
  async function settled(resource: 'volumes' | 'backups', id: string, states: readonly string[]) {
    const stateOf = ({ status, body }: { status: number; body: Record<string, { status: string }> }) =>
      status === 404 ? 'gone' : body[resource.slice(0, -1)]?.status
    const answer = await api.until(
      `${resource} ${id} to be ${states.join(' or ')}`,
      () => api.block('GET', `/${resource}/${id}`),
      (found) => [...states, ...failures].includes(String(stateOf(found))),
    )
    const state = String(stateOf(answer))
    assert.ok(states.includes(state), `${JSON.stringify(answer.body)}`)
    return state
  }

  async function backupNamed(name: string): Promise<string> {
    const { body } = await api.block('GET', `/backups/detail?name=${name}`)
    return body.backups[0].id
  }

  async function begin(volumeId: string, name: string): Promise<string> {
    const backup = { volume_id: volumeId, name, force: true }
    const { body, status } = await api.block('POST', '/backups', { backup })
    assert.equal(status, 202, JSON.stringify(body))
    return body.backup.id
  }

  async function beginRestore(backupId: string): Promise<string> {
    const { body, status } = await api.block('POST', `/backups/${backupId}/restore`, { restore: {} })
    assert.equal(status, 202, JSON.stringify(body))
    return body.restore.volume_id
  }

  async function remove(resource: 'volumes' | 'backups', id: string): Promise<void> {
    const { status, body } = await api.block('DELETE', `/${resource}/${id}`)
    assert.equal(status, 202, JSON.stringify(body))
    await settled(resource, id, ['gone'])
  }

  /** Names of everything on the array and in Ceph that belongs to backups of a volume. */
  async function onTargets(volumeId: string, backupIds: readonly string[]): Promise<readonly string[]> {
    const onArray = (await appInstances(instance)).filter((name) =>
      backupIds.some((id) => name.startsWith(`BACKUP-${id}`)),
    )
    const images = (await ceph.rbd('ls', 'backups')).split('\n').filter((name) => name.includes(volumeId))
    const objects = (await ceph.rados('-p', 'backups', 'ls'))
      .split('\n')
      .filter((name) => backupIds.some((id) => name.startsWith(`backup.${id}`)))
    return [...onArray, ...images, ...objects]
  }

  test('the commands of the guide keep a backup where its name says', async () => {
    await using client = await clientOf(instance)
    const volumes: string[] = []
    for (const [name, line] of [
      ['hadoop1', 'openstack volume backup create hadoop1 --name ceph_hadoop1_backup'],
      ['cassandra1', 'openstack volume backup create cassandra1 --name datera_cassandra1_backup'],
    ] as const) {
      assert.ok(text.includes(`    ${line}\n`), `the guide shows: ${line}`)
      volumes.push(await filled(name))
      const [program = '', ...argv] = line.split(' ')
      await client(program, ...argv)
    }
    for (const [i, name] of ['ceph_hadoop1_backup', 'datera_cassandra1_backup'].entries()) {
      const id = await backupNamed(name)
      await settled('backups', id, ['available'])
      const [volumeId = ''] = volumes.slice(i)
      const found = await onTargets(volumeId, [id])
      const expected = i === 0 ? `volume-${volumeId}.backup.${id}` : `BACKUP-${id}`
      assert.ok(found.includes(expected), `${expected} is among ${found}`)
      const restored = await beginRestore(id)
      await settled('volumes', restored, ['available'])
      assert.equal(await volumeDigest(api, restored, dataBytes), sha512)
      await remove('backups', id)
      assert.deepEqual(await onTargets(volumeId, [id]), [])
      await remove('volumes', restored)
      await remove('volumes', volumeId)
    }
  })

  test('a backup under write load has the bytes of one moment', async () => {
    const id = await volume('busy')
    const [blocks, blockBytes] = [256, 4096]
    const stamp = (round: number) => Buffer.alloc(blockBytes, `round ${String(round).padStart(8, '0')}\n`)
    const backupId = await withAttachedDisk(api, id, async (disk, cancel) => {
      await settled('volumes', id, ['in-use'])
      let isDone = false
      let rounds = 0
      const writing = (async () => {
        for (rounds = 1; !isDone; rounds++) {
          for (let block = 0; block < blocks; block++) {
            await disk.write(block * strideBytes, stamp(rounds), cancel)
          }
          await new Promise((resolve) => setTimeout(resolve, 20)) // others use the machine too
        }
      })()
      writing.catch(() => {}) // awaited below, unless something else fails first
      await api.until(
        'two rounds of writing',
        () => api.block('GET', `/volumes/${id}`),
        () => rounds > 2,
      )
      const made = await begin(id, 'ceph_busy')
      await settled('backups', made, ['available']).finally(() => {
        isDone = true
      })
      await writing
      assert.ok(rounds > 3, 'it was written to all the time')
      return made
    })
    const restored = await beginRestore(backupId)
    await settled('volumes', restored, ['available'])
    const seen = await withAttachedDisk(api, restored, (disk) => stampsOf(disk, blocks, blockBytes))
    const [newest = 0, oldest = 0] = [seen[0], seen.at(-1)]
    assert.ok(newest > 1 && newest - oldest <= 1, `rounds ${oldest} to ${newest}`)
    const turn = seen.indexOf(oldest)
    for (const [block, round] of seen.entries()) {
      assert.equal(round, block < turn ? newest : oldest, `block ${block}: what was written later came later`)
    }
    await settled('volumes', id, ['available'])
    await remove('backups', backupId)
    for (const each of [restored, id]) await remove('volumes', each)
  })

  /** Starts an operation, kills the controller in the middle, and starts it again. */
  async function killed<Result>(operation: () => Promise<Result>, delay: number): Promise<Result> {
    const result = await operation()
    await new Promise((resolve) => setTimeout(resolve, delay))
    await instance.kill()
    instance = await startInstance({ stateDirectory: instance.stateDirectory, portBase: instance.portBase })
    api = await apiOf(instance)
    return result
  }

  for (const [target, delays] of [
    ['ceph', delaysOf([200])],
    ['datera', delaysOf([400])],
  ] as const) {
    test(`killed while it keeps, restores and deletes backups on ${target}: whole or in error, and nothing is left`, async () => {
      const volumeId = await filled('victim')
      const backups: string[] = []
      const keep = async () => {
        const id = await begin(volumeId, `${target}_victim`)
        backups.push(id)
        return id
      }
      for (const delay of delays) {
        const id = await killed(keep, delay)
        const state = await settled('backups', id, ['available', 'error'])
        await settled('volumes', volumeId, ['available'])
        if (state === 'error') assert.deepEqual(await onTargets(volumeId, [id]), [], 'it is undone')
        else await remove('backups', id)
        if (state === 'error') await remove('backups', id)
      }
      const whole = await keep()
      await settled('backups', whole, ['available'])
      for (const delay of delays) {
        const restored = await killed(() => beginRestore(whole), delay)
        await settled('backups', whole, ['available'])
        const state = await settled('volumes', restored, ['available', 'error_restoring', 'error'])
        if (state === 'available') assert.equal(await volumeDigest(api, restored, dataBytes), sha512)
        await remove('volumes', restored)
      }
      const again = await beginRestore(whole)
      await settled('volumes', again, ['available'])
      assert.equal(await volumeDigest(api, again, dataBytes), sha512, 'a repeated restore succeeds')
      await remove('volumes', again)
      for (const [i, delay] of delays.entries()) {
        const id = i === 0 ? whole : await keep()
        await settled('backups', id, ['available'])
        await killed(() => api.block('DELETE', `/backups/${id}`), delay)
        const state = await settled('backups', id, ['gone', 'error_deleting', 'available'])
        assert.equal(state, 'gone', 'what was accepted is done')
      }
      assert.deepEqual(await onTargets(volumeId, backups), [])
      await remove('volumes', volumeId)
      assert.deepEqual(await appInstances(instance), [])
    })
  }
})

/** The round that each block was written in. */
async function stampsOf(disk: BlockDevice, blocks: number, blockBytes: number): Promise<readonly number[]> {
  const call = { signal: AbortSignal.timeout(60_000) }
  const rounds: number[] = []
  for (let block = 0; block < blocks; block++) {
    const bytes = await readBytes(disk, block * strideBytes, blockBytes, call)
    const stamp = Buffer.from(bytes).toString('latin1')
    const round = /^round (\d{8})\n/.exec(stamp)?.[1]
    assert.ok(stamp === `round ${round}\n`.repeat(293).slice(0, blockBytes), `block ${block} is whole`)
    rounds.push(Number(round))
  }
  return rounds
}
