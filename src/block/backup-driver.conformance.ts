import assert from 'node:assert/strict'
import { randomBytes, randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { type BlockDevice, type Cancel, type Done, MemoryDevice, readBytes } from '@emberglass/iscsi/device'
import { type Bytes, KiB, MiB } from '../kernel/bytes.ts'
import { uncancelled } from '../kernel/call.ts'
import { BackendError, Invalid, NotFound, StorageError } from '../kernel/errors.ts'
import type { BackupCall, BackupDriver, NewBackup, StoredBackup } from './backup-driver.ts'

/** A driver on an empty target. */
export interface BackupDriverFixture extends AsyncDisposable {
  readonly driver: BackupDriver
  /** Another driver on the same target, as another process has it; the suite closes it. */
  readonly reopen?: () => Promise<BackupDriver>
  /** Names of everything that lies on the target. */
  leftovers(): Promise<readonly string[]>
  /** Names of a backup's objects, and a way to flip one bit in one of them; flipping again mends it. */
  readonly objects?: (backup: StoredBackup) => Promise<readonly string[]>
  readonly flip?: (backup: StoredBackup, name: string) => Promise<void>
  /** What a user may ask for as a container; `mine` by default. */
  readonly container?: string
  /** Bytes of the volumes in the tests; 5 MiB by default. */
  readonly volumeBytes?: number
}

export interface BackupDriverCase {
  readonly name: string
  readonly requires?: 'reopen' | 'flip'
  run(trial: Trial): Promise<void>
}

/**
 * Proves a backup driver right: registers one `node:test` test for each case.
 * @param factory makes a driver on an empty target; called once for each case
 */
export function backupDriverConformance(name: string, factory: () => Promise<BackupDriverFixture>): void {
  for (const conformanceCase of backupDriverCases) {
    test(`${name}: ${conformanceCase.name}`, async (t) => {
      const missing = await runBackupDriverCase(conformanceCase, factory)
      if (missing !== undefined) t.skip(`the fixture has no ${missing}`)
    })
  }
}

/** Runs one case. @returns what the fixture lacks for it @throws AssertionError when the driver breaks the promise */
export async function runBackupDriverCase(
  { requires, run }: BackupDriverCase,
  factory: () => Promise<BackupDriverFixture>,
): Promise<string | undefined> {
  await using fixture = await factory()
  if (requires !== undefined && fixture[requires] === undefined) return requires
  await fixture.driver.start(uncancelled())
  const trial = new Trial(fixture)
  await run(trial)
  await trial.removeEverything()
  assert.deepEqual(await fixture.leftovers(), [], 'nothing is left on the target')
  return undefined
}

/** A volume in memory that tells what is read of it. */
class WatchedDevice extends MemoryDevice {
  readBytes = 0
  onRead: (offset: number) => void = () => {}

  override read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    this.readBytes += into.byteLength
    this.onRead(offset)
    return super.read(offset, into, cancel)
  }
}

/** The bytes of an object with one bit in the middle flipped, for fixtures. */
export async function flipped(object: Bytes): Promise<Buffer> {
  const parts: Uint8Array[] = []
  for await (const part of object) parts.push(Uint8Array.from(part))
  const bytes = Buffer.concat(parts)
  const at = bytes.byteLength >> 1
  bytes[at] = (bytes[at] ?? 0) ^ 4
  return bytes
}

/** What a case works with. */
class Trial {
  readonly fixture: BackupDriverFixture
  readonly call = callOf()
  readonly #made: StoredBackup[] = []

  constructor(fixture: BackupDriverFixture) {
    this.fixture = fixture
  }

  get driver(): BackupDriver {
    return this.fixture.driver
  }

  /** A volume with random bytes in front and at the end, and zeroes between. */
  volume(): { device: WatchedDevice; volumeId: string } {
    const sizeBytes = this.fixture.volumeBytes ?? 5 * MiB
    const device = new WatchedDevice(sizeBytes)
    device.write(0, randomBytes(MiB + 512), this.call)
    device.write(sizeBytes - 64 * KiB, randomBytes(64 * KiB), this.call)
    return { device, volumeId: randomUUID() }
  }

  plan(
    { device, volumeId }: { device: BlockDevice; volumeId: string },
    parent?: StoredBackup,
    container?: string,
  ): NewBackup {
    const plan = {
      id: randomUUID(),
      name: 'nightly',
      description: undefined,
      volumeId,
      sizeBytes: device.sizeBytes,
      createdAt: new Date().toISOString(),
      container,
    }
    const volumeMetadata = JSON.stringify({ version: 2, 'volume-metadata': { of: plan.id } })
    const placement = this.driver.place(plan, parent)
    return { ...plan, ...placement, metadataSha256: undefined, parent, volumeMetadata }
  }

  /** Backs up, and remembers what was made for the end. */
  async backup(
    volume: { device: BlockDevice; volumeId: string },
    parent?: StoredBackup,
    call: BackupCall = this.call,
  ): Promise<StoredBackup & { objectCount: number }> {
    const planned = this.plan(volume, parent)
    this.#made.push(planned)
    const { objectCount, metadataSha256 } = await this.driver.backup(planned, { device: volume.device }, call)
    return { ...planned, objectCount, metadataSha256 }
  }

  async restored(chain: readonly StoredBackup[], sizeBytes: number, old?: Uint8Array): Promise<Uint8Array> {
    const into = new MemoryDevice(sizeBytes)
    if (old !== undefined) into.write(0, old, this.call)
    await this.driver.restore(chain, into, { targetIsZeroed: old === undefined }, this.call)
    return await readBytes(into, 0, sizeBytes, this.call)
  }

  async removeEverything(): Promise<void> {
    for (const backup of this.#made.toReversed()) await this.driver.delete(backup, this.call)
  }
}

function callOf(changes: Partial<BackupCall> = {}): BackupCall {
  return { ...uncancelled(), onProgress: () => {}, ...changes }
}

const contents = (device: BlockDevice) => readBytes(device, 0, device.sizeBytes, callOf())

function assertSame(found: Uint8Array, expected: Uint8Array, what: string): void {
  assert.ok(Buffer.compare(found, expected) === 0, what)
}

export const backupDriverCases: readonly BackupDriverCase[] = [
  {
    name: 'a full backup restores to the same bytes, also over old ones, and leaves the rest of a larger volume alone',
    async run(trial) {
      const volume = trial.volume()
      const expected = await contents(volume.device)
      const backup = await trial.backup(volume)
      assert.ok(backup.objectCount > 0)
      assertSame(await trial.restored([backup], expected.byteLength), expected, 'a new volume')
      const old = randomBytes(expected.byteLength + MiB)
      const found = await trial.restored([backup], old.byteLength, old)
      assertSame(found.subarray(0, expected.byteLength), expected, 'over old bytes')
      assertSame(found.subarray(expected.byteLength), old.subarray(expected.byteLength), 'the rest')
    },
  },
  {
    name: 'increments restore to the bytes of each moment, zeroes that were written included',
    async run(trial) {
      const volume = trial.volume()
      const moments = [await contents(volume.device)]
      const chain = [await trial.backup(volume)]
      volume.device.write(2 * MiB, randomBytes(4096), trial.call)
      moments.push(await contents(volume.device))
      chain.push(await trial.backup(volume, chain.at(-1)))
      volume.device.write(0, new Uint8Array(256 * KiB), trial.call)
      volume.device.write(volume.device.sizeBytes - 512, randomBytes(512), trial.call)
      moments.push(await contents(volume.device))
      chain.push(await trial.backup(volume, chain.at(-1)))
      for (const [level, expected] of moments.entries()) {
        const found = await trial.restored(chain.slice(0, level + 1), expected.byteLength)
        assertSame(found, expected, `level ${level}`)
      }
      const old = randomBytes(volume.device.sizeBytes)
      assertSame(await trial.restored(chain, old.byteLength, old), moments.at(-1) ?? old, 'over old bytes')
    },
  },
  {
    name: 'an increment of nothing has no objects, and reads only what may have changed',
    async run(trial) {
      const volume = trial.volume()
      const full = await trial.backup(volume)
      const same = await trial.backup(volume, full)
      assert.equal(same.objectCount, 0)
      volume.device.write(MiB, randomBytes(512), trial.call)
      const planned = trial.plan(volume, full)
      volume.device.readBytes = 0
      const changed = [{ offset: MiB, length: 512 }]
      const result = await trial.driver.backup(planned, { device: volume.device, changed }, trial.call)
      assert.equal(result.objectCount, 1)
      const limit = (trial.fixture.volumeBytes ?? 5 * MiB) / 2
      assert.ok(volume.device.readBytes < limit, `${volume.device.readBytes} bytes were read`)
      const stored = { ...planned, ...result }
      assertSame(
        await trial.restored([full, stored], volume.device.sizeBytes),
        await contents(volume.device),
        'the increment',
      )
      await trial.driver.delete(stored, trial.call)
    },
  },
  {
    name: 'a volume that has grown needs a full backup',
    async run(trial) {
      const volume = trial.volume()
      const full = await trial.backup(volume)
      volume.device.resize(volume.device.sizeBytes + MiB)
      await assert.rejects(trial.backup(volume, full), Invalid)
    },
  },
  {
    name: 'restoring and verifying answer what was kept of the volume, and tell how far they are',
    async run(trial) {
      const volume = trial.volume()
      const seen: number[] = []
      const call = callOf({ onProgress: (doneBytes) => seen.push(doneBytes) })
      const full = await trial.backup(volume, undefined, call)
      assert.equal(seen.at(-1), volume.device.sizeBytes)
      assert.deepEqual(
        seen,
        seen.toSorted((one, other) => one - other),
      )
      const next = await trial.backup(volume, full)
      const into = new MemoryDevice(volume.device.sizeBytes)
      const facts = await trial.driver.restore([full, next], into, { targetIsZeroed: true }, trial.call)
      const ids = facts.map((text) => JSON.parse(text)['volume-metadata'].of)
      assert.deepEqual(ids, [full.id, next.id])
      seen.length = 0
      await trial.driver.verify([full], call)
      assert.equal(seen.at(-1), volume.device.sizeBytes)
    },
  },
  {
    name: 'a flipped bit in any object is found, named and told, and nothing else',
    requires: 'flip',
    async run(trial) {
      const { objects, flip } = trial.fixture
      assert.ok(objects !== undefined && flip !== undefined)
      const volume = trial.volume()
      const full = await trial.backup(volume)
      const names = await objects(full)
      assert.equal(names.length, full.objectCount + 2)
      for (const name of names) {
        await flip(full, name)
        await assert.rejects(trial.driver.verify([full], trial.call), (error) => {
          assert.ok(error instanceof BackendError, String(error))
          assert.ok(error.message.includes(name) && error.message.includes(full.container), error.message)
          return true
        })
        await assert.rejects(trial.restored([full], volume.device.sizeBytes), BackendError)
        await flip(full, name)
      }
      await trial.driver.verify([full], trial.call)
    },
  },
  {
    name: 'what was begun is replaced by the same backup again, and deleted as if it were whole',
    async run(trial) {
      const volume = trial.volume()
      const half = callOf()
      const abort = new AbortController()
      const planned = trial.plan(volume)
      volume.device.onRead = (offset) => {
        if (offset >= 2 * MiB) abort.abort(new Error('enough'))
      }
      const stopped = { ...half, signal: abort.signal }
      await assert.rejects(trial.driver.backup(planned, { device: volume.device }, stopped), /enough/)
      volume.device.onRead = () => {}
      const result = await trial.driver.backup(planned, { device: volume.device }, trial.call)
      const backup = { ...planned, ...result }
      assertSame(
        await trial.restored([backup], volume.device.sizeBytes),
        await contents(volume.device),
        'the second attempt',
      )
      await trial.driver.delete(backup, trial.call)
      await trial.driver.delete(backup, trial.call)
      await trial.driver.delete(trial.plan(volume), trial.call)
      await assert.rejects(trial.driver.find(backup, trial.call), NotFound)
    },
  },
  {
    name: 'a call that is aborted rejects with its reason',
    async run(trial) {
      const volume = trial.volume()
      const backup = await trial.backup(volume)
      const reason = new Error('cancelled')
      const call = callOf({ signal: AbortSignal.abort(reason) })
      const isReason = (error: unknown) => error === reason
      await assert.rejects(trial.driver.verify([backup], call), isReason)
      const into = new MemoryDevice(volume.device.sizeBytes)
      await assert.rejects(trial.driver.restore([backup], into, { targetIsZeroed: true }, call), isReason)
    },
  },
  {
    name: 'a container that was asked for is the one that is shown, and two backups in it do not mix',
    async run(trial) {
      const made: StoredBackup[] = []
      const container = trial.fixture.container ?? 'mine'
      for (const _ of [1, 2]) {
        const volume = trial.volume()
        const planned = trial.plan(volume, undefined, container)
        assert.equal(planned.container, container)
        const result = await trial.driver.backup(planned, { device: volume.device }, trial.call)
        made.push({ ...planned, ...result })
      }
      const [first, second] = made
      assert.ok(first !== undefined && second !== undefined)
      await trial.driver.delete(first, trial.call)
      await trial.driver.verify([second], trial.call)
      await trial.driver.delete(second, trial.call)
    },
  },
  {
    name: 'four backups and restores at once do not disturb each other',
    async run(trial) {
      await Promise.all(
        [1, 2, 3, 4].map(async () => {
          const volume = trial.volume()
          const backup = await trial.backup(volume)
          const [found] = await Promise.all([
            trial.restored([backup], volume.device.sizeBytes),
            trial.driver.verify([backup], trial.call),
          ])
          assertSame(found, await contents(volume.device), 'one of four')
        }),
      )
    },
  },
  {
    name: 'another process finds and restores a backup, and only kernel errors escape for one that is gone',
    requires: 'reopen',
    async run(trial) {
      const volume = trial.volume()
      const backup = await trial.backup(volume)
      assert.ok(trial.fixture.reopen !== undefined)
      await using other = await trial.fixture.reopen()
      await other.start(trial.call)
      await other.find(backup, trial.call)
      const into = new MemoryDevice(volume.device.sizeBytes)
      await other.restore([backup], into, { targetIsZeroed: true }, trial.call)
      assertSame(await contents(into), await contents(volume.device), 'the other process')
      await other.delete(backup, trial.call)
      await assert.rejects(other.find(backup, trial.call), NotFound)
      await assert.rejects(other.verify([backup], trial.call), StorageError)
    },
  },
]
