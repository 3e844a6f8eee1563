import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { type IscsiDisk, openIscsiDisk, parsePortal } from '@emberglass/iscsi/initiator'
import { GiB, MiB } from '../../../kernel/bytes.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { Misconfigured } from '../../../kernel/errors.ts'
import { type VolumeDriverFixture, volumeDriverConformance } from '../../volume-driver.conformance.ts'
import type { BackendVolume, Connection, NewVolume } from '../../volume-driver.ts'
import { LocalVolumeDriver } from './driver.ts'
import { type LocalSettings, localOptions } from './options.ts'

const call = uncancelled()
const hostA = { initiator: 'iqn.2026-01.example:host-a', host: 'host-a' }
const hostB = { initiator: 'iqn.2026-01.example:host-b', host: 'host-b' }

/** A directory, and drivers on it one after the other. */
class Rig implements AsyncDisposable {
  static async start(settings: Partial<LocalSettings> = {}): Promise<Rig> {
    return new Rig(await mkdtemp(join(tmpdir(), 'emberglass-local-')), settings)
  }

  readonly directory
  readonly settings
  driver: LocalVolumeDriver

  private constructor(directory: string, settings: Partial<LocalSettings>) {
    this.directory = directory
    this.settings = settings
    this.driver = this.make()
  }

  /** A driver that has not started. */
  make(settings: Partial<LocalSettings> = {}): LocalVolumeDriver {
    const defaults = Object.entries(localOptions).map(([key, option]) => [key, option.default])
    // Sound: `localOptions` has exactly the properties of the settings, each with a default of its type.
    const values = Object.fromEntries(defaults) as LocalSettings
    const backend = { name: 'local', volumeBackendName: 'local', stateDirectory: this.directory }
    return new LocalVolumeDriver(
      { ...values, port: 0, ...this.settings, ...settings },
      { ...backend, initiatorName: 'iqn.2026-01.example:service' },
    )
  }

  async restart(settings: Partial<LocalSettings> = {}): Promise<void> {
    await this.driver[Symbol.asyncDispose]()
    this.driver = this.make(settings)
    await this.driver.start(call)
  }

  async create(): Promise<BackendVolume> {
    const id = randomUUID()
    const wanted: NewVolume = {
      id,
      name: `volume-${id}`,
      sizeBytes: GiB,
      projectId: randomUUID(),
      type: undefined,
      metadata: {},
    }
    return { ...wanted, ...(await this.driver.create(wanted, call)) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.driver[Symbol.asyncDispose]()
    await rm(this.directory, { recursive: true, force: true })
  }
}

/** Logs in as a host does, with what it was told. */
async function logIn({ data }: Connection, initiatorName: string): Promise<IscsiDisk> {
  const text = (key: string) => String(data[key] ?? '')
  const portal = parsePortal(text('target_portal'))
  assert.ok(portal)
  const chap = { username: text('auth_username'), password: text('auth_password') }
  return await openIscsiDisk(
    {
      portals: [portal],
      targetName: text('target_iqn'),
      lun: 0,
      initiatorName,
      timeoutMs: 5000,
      recoveryTimeoutMs: 20_000,
      ...(data['auth_method'] === 'CHAP' ? { chap } : {}),
    },
    call,
  )
}

const nothingKnown = { volumes: [], snapshots: [] }

volumeDriverConformance('local', async (): Promise<VolumeDriverFixture> => {
  const rig = await Rig.start()
  const connections = new Map<string, Connection>()
  const driver = rig.driver
  const attach = driver.attach.bind(driver)
  driver.attach = async (volume, to, during) => {
    const connection = await attach(volume, to, during)
    connections.set(volume.id, connection)
    return connection
  }
  return {
    driver,
    reopen: async () => {
      rig.driver = rig.make()
      return rig.driver
    },
    leftovers: async () =>
      (await rig.driver.manage.list(nothingKnown, call)).map(({ reference }) => JSON.stringify(reference)),
    reachable: async (volume, connector) => {
      const connection = connections.get(volume.id)
      if (connection === undefined) return false
      try {
        await using _disk = await logIn(connection, connector.initiator ?? '')
        return true
      } catch {
        return false
      }
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  }
})

test('a host writes through the target what our own data path reads, and sees the volume grow', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  await using disk = await logIn(await rig.driver.attach(volume, hostA, call), hostA.initiator)
  const data = randomBytes(MiB)
  await disk.write(MiB, data, call)
  await disk.flush(call)
  {
    await using device = await rig.driver.open(volume, 'r', call)
    assert.deepEqual(Buffer.from(await readBytes(device, MiB, MiB, call)), data)
    assert.throws(() => void device.write(0, data, call), /reading only/)
  }
  await rig.driver.extend(volume, 2 * GiB, call)
  assert.equal(await disk.rescan(call), 2 * GiB)
})

test('hosts find their volumes again after a restart, with the same credentials', async () => {
  await using array = await Rig.start({ useChap: true })
  const volume = await array.create()
  const before = await array.driver.attach(volume, hostA, call)
  assert.equal(before.data['auth_method'], 'CHAP')
  await assert.rejects(
    logIn({ ...before, data: { ...before.data, auth_password: 'x'.repeat(16) } }, hostA.initiator),
  )
  const port = Number(String(before.data['target_portal']).split(':').at(-1))
  await array.restart({ port })
  {
    await using _disk = await logIn(before, hostA.initiator)
    await assert.rejects(logIn(before, hostB.initiator), 'nobody else')
  }
  assert.deepEqual((await array.driver.attach(volume, hostA, call)).data, before.data)
  await array.driver.detach(volume, hostA, call)
  await array.restart({ port })
  await assert.rejects(logIn(before, hostA.initiator), 'not after it was shut out')
})

test('a host that is shut out loses its session, the others go on', async () => {
  await using rig = await Rig.start()
  const volume = await rig.create()
  await using diskA = await logIn(await rig.driver.attach(volume, hostA, call), hostA.initiator)
  await using diskB = await logIn(await rig.driver.attach(volume, hostB, call), hostB.initiator)
  await rig.driver.detach(volume, hostB, call)
  await diskA.write(0, randomBytes(4096), call)
  const short = { signal: AbortSignal.timeout(1000) }
  await assert.rejects(Promise.resolve(diskB.write(0, randomBytes(4096), short)))
})

test('a directory or port that is taken is named at start', async () => {
  await using rig = await Rig.start()
  await rig.driver.start(call)
  const volume = await rig.create()
  const { data } = await rig.driver.attach(volume, hostA, call)
  await using second = rig.make()
  await assert.rejects(second.start(call), (error) => {
    assert.ok(error instanceof Misconfigured)
    assert.match(error.message, /local_data_directory/)
    return true
  })
  await using other = await Rig.start({ port: Number(String(data['target_portal']).split(':').at(-1)) })
  await assert.rejects(other.driver.start(call), /target_port.*EADDRINUSE/)
})

test('a full store is said so', async () => {
  const capacityBytes = 64 * MiB
  await using rig = await Rig.start({ capacityGib: capacityBytes / GiB })
  const volume = await rig.create()
  const [pool] = await rig.driver.pools(call)
  assert.equal(pool?.totalBytes, capacityBytes)
  let written = 0
  await using device = await rig.driver.open(volume, 'rw', call)
  await assert.rejects(async () => {
    for (; written <= capacityBytes; written += MiB) await device.write(written, randomBytes(MiB), call)
  }, /space|room|full/i)
  assert.ok(written > 0 && written <= capacityBytes)
})
