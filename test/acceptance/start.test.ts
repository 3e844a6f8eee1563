import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { freePortBlock } from '../../src/main/free-ports.ts'
import { apiOf } from '../support/api.ts'
import { runEmberglass, startInstance } from '../support/instance.ts'

describe('emberglass start', () => {
  let directory: string

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-start-'))
  })
  after(() => rm(directory, { recursive: true, force: true }))

  /** One clear line on standard error, and exit code 1. */
  async function assertRefused(argv: readonly string[], sentence: RegExp): Promise<void> {
    const { code, stderr } = await runEmberglass(['start', ...argv])
    assert.equal(code, 1)
    assert.match(stderr, sentence)
    assert.equal(stderr.trim().split('\n').length, 1, stderr)
  }

  test('writes private credentials, keeps them and its data over a restart, and stops cleanly', async () => {
    const stateDirectory = join(directory, 'first')
    let instance = await startInstance({ stateDirectory })
    for (const name of ['openrc', 'clouds.yaml', 'edf.env', 'secrets.json']) {
      assert.equal((await stat(join(stateDirectory, name))).mode & 0o777, 0o600, name)
    }
    const openrc = await readFile(join(stateDirectory, 'openrc'), 'utf8')
    const edf = await readFile(join(stateDirectory, 'edf.env'), 'utf8')
    for (const name of ['EDF_HOST', 'EDF_LOGIN', 'EDF_PASSWORD']) assert.ok(edf.includes(`${name}=`), name)
    const api = await apiOf(instance)
    const created = await api.image('POST', '/images', { name: 'kept' })
    assert.equal(created.status, 201)
    assert.equal(await instance.stop(), 0, instance.output())

    instance = await startInstance({ stateDirectory, portBase: instance.portBase })
    assert.equal(await readFile(join(stateDirectory, 'openrc'), 'utf8'), openrc)
    const again = await apiOf(instance)
    assert.equal((await again.image('GET', `/images/${created.body.id}`)).body.name, 'kept')
    assert.equal(await instance.stop(), 0, instance.output())
  })

  test('says which port is taken', async () => {
    const portBase = await freePortBlock()
    for (const offset of [1, 5]) {
      const squatter = createServer().listen(portBase + offset, '127.0.0.1')
      await once(squatter, 'listening')
      await assertRefused(
        ['--state-dir', join(directory, `taken-${offset}`), '--port-base', String(portBase)],
        new RegExp(`${portBase + offset}(: the port)? is taken`),
      )
      squatter.close()
    }
  })

  test('refuses a state directory that another instance is using', async () => {
    const stateDirectory = join(directory, 'shared')
    await using _first = await startInstance({ stateDirectory })
    await assertRefused(
      ['--state-dir', stateDirectory, '--port-base', String(await freePortBlock())],
      /Another instance is using the state directory/,
    )
  })

  test('refuses a state directory that cannot be used', async () => {
    const notADirectory = join(directory, 'file')
    await writeFile(notADirectory, '')
    await assertRefused(['--state-dir', notADirectory], /The state directory .* cannot be used/)
  })

  test('refuses a port base that makes no sense', async () => {
    await assertRefused(
      ['--state-dir', join(directory, 'ports'), '--port-base', '65530'],
      /--port-base must be a number from 1024/,
    )
  })

  test('names every problem of a configuration file with its line', async () => {
    const file = join(directory, 'cinder.conf')
    await writeFile(
      file,
      '[DEFAULT]\nenabled_backends = one\n[one]\nvolume_driver = cinder.volume.drivers.datera.datera_iscsi.DateraDriver\nsan_ip = 127.0.0.1\nsan_api_port = many\n',
    )
    const { code, stderr } = await runEmberglass([
      ...['start', '--state-dir', join(directory, 'configured')],
      ...['--port-base', String(await freePortBlock()), '--cinder-conf', file],
    ])
    assert.equal(code, 1)
    assert.match(stderr, /cinder\.conf:6.*san_api_port/)
  })

  test('starts the array again when its process dies', async () => {
    await using instance = await startInstance({ stateDirectory: join(directory, 'dies') })
    const api = await apiOf(instance)
    const first = await instance.edfNodePid()
    process.kill(first, 'SIGKILL')
    const volume = await api.block('POST', '/volumes', { volume: { size: 1, name: 'after' } })
    assert.equal(volume.status, 202)
    const done = await api.until(
      'the volume to be made on the new process',
      () => api.block('GET', `/volumes/${volume.body.volume.id}`),
      (answer) => !answer.body.volume.status.endsWith('ing'),
    )
    assert.equal(done.body.volume.status, 'available')
    assert.notEqual(await instance.edfNodePid(), first)
  })
})
