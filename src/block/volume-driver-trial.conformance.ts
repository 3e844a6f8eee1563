import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type BlockDevice, readBytes } from '@emberglass/iscsi/device'
import { GiB } from '../kernel/bytes.ts'
import { type Call, uncancelled } from '../kernel/call.ts'
import type {
  BackendSnapshot,
  BackendVolume,
  CloneableImage,
  Connector,
  NewVolume,
  VolumeDriver,
  VolumeTypeFacts,
} from './volume-driver.ts'

/** A driver under test and what the suite may ask of its backend. */
export interface VolumeDriverFixture extends AsyncDisposable {
  /** Not started yet: the suite starts it, and disposes of it. */
  readonly driver: VolumeDriver
  /**
   * Another driver on the same backend, not started, as after a restart of the service; the first is disposed of
   * by then. Absent when the driver is ephemeral.
   */
  reopen?(): Promise<VolumeDriver>
  /** What of ours lies on the backend, in any notation. Asked when everything has been deleted. */
  leftovers?(): Promise<readonly string[]>
  /** Whether a host could reach the volume's data as that connector. */
  reachable?(volume: BackendVolume, connector: Connector): Promise<boolean>
  /** The type of the volumes that are made; none by default. */
  readonly type?: VolumeTypeFacts
  /** A type that a volume becomes in place; one without specs by default. */
  readonly otherType?: VolumeTypeFacts
  /** Whether deleting a volume deletes what snapshots are left of it; it is refused by default. */
  readonly snapshotsGoWithVolume?: boolean
  /** An image with these bytes that the driver can clone. */
  imageOnBackend?(data: Uint8Array): Promise<CloneableImage>
}

/** What a driver or its fixture may lack. */
export type Feature =
  | 'snapshots'
  | 'clones'
  | 'revert'
  | 'retype'
  | 'manage'
  | 'manageSnapshots'
  | 'migration'
  | 'imageOnBackend'
  | 'groups'
  | 'capabilities'
  | 'moments'
  | 'reopen'
  | 'reachable'

/** One promise of the contract. Cases are independent: each gets a fixture of its own. */
export interface VolumeDriverCase {
  readonly name: string
  /** The optional feature without which the case is skipped. */
  readonly requires?: Feature
  run(trial: Trial): Promise<void>
}

/** One case's run: the driver, and short ways to make, fill and compare volumes. */
export class Trial implements AsyncDisposable {
  readonly fixture: VolumeDriverFixture
  readonly call: Call = uncancelled()
  driver: VolumeDriver
  readonly #volumes = new Map<string, BackendVolume>()
  readonly #snapshots = new Map<string, BackendSnapshot>()

  constructor(fixture: VolumeDriverFixture) {
    this.fixture = fixture
    this.driver = fixture.driver
  }

  newVolume(sizeBytes = GiB): NewVolume {
    const id = randomUUID()
    const name = `volume-${id}`
    return { id, name, sizeBytes, projectId: randomUUID(), type: this.fixture.type, metadata: {} }
  }

  /** Makes a volume, remembered so that it is removed again. */
  async create(wanted: NewVolume = this.newVolume()): Promise<BackendVolume> {
    this.remember(wanted, undefined)
    return this.remember(wanted, (await this.driver.create(wanted, this.call)).providerLocation)
  }

  /** Forgets a volume that the driver has forgotten. */
  forget({ id }: { readonly id: string }): void {
    this.#volumes.delete(id)
    this.#snapshots.delete(id)
  }

  rememberSnapshot(
    wanted: Omit<BackendSnapshot, 'providerLocation'>,
    providerLocation: string | undefined,
  ): BackendSnapshot {
    const snapshot = { ...wanted, providerLocation }
    this.#snapshots.set(snapshot.id, snapshot)
    return snapshot
  }

  newSnapshot(volume: BackendVolume): Omit<BackendSnapshot, 'providerLocation'> {
    const id = randomUUID()
    return { id, name: `snapshot-${id}`, volume }
  }

  remember(wanted: NewVolume, providerLocation: string | undefined): BackendVolume {
    const volume = { ...wanted, providerLocation }
    this.#volumes.set(volume.id, volume)
    return volume
  }

  async snapshot(volume: BackendVolume): Promise<BackendSnapshot> {
    const wanted = this.newSnapshot(volume)
    this.rememberSnapshot(wanted, undefined)
    const created = await present(this.driver.snapshots).create(wanted, this.call)
    return this.rememberSnapshot(wanted, created.providerLocation)
  }

  async fromSnapshot(snapshot: BackendSnapshot, wanted = this.newVolume()): Promise<BackendVolume> {
    this.remember(wanted, undefined)
    const created = await present(this.driver.snapshots).createVolume(snapshot, wanted, this.call)
    return this.remember(wanted, created.providerLocation)
  }

  async clone(source: BackendVolume, wanted = this.newVolume()): Promise<BackendVolume> {
    this.remember(wanted, undefined)
    const created = await present(this.driver.clones).create(source, wanted, this.call)
    return this.remember(wanted, created.providerLocation)
  }

  async withDevice<Result>(
    volume: BackendVolume,
    mode: 'r' | 'rw',
    work: (device: BlockDevice) => Promise<Result>,
  ): Promise<Result> {
    await using device = await this.driver.open(volume, mode, this.call)
    return await work(device)
  }

  async write(volume: BackendVolume, offset: number, data: Uint8Array): Promise<void> {
    await this.withDevice(volume, 'rw', async (device) => {
      await device.write(offset, data, this.call)
      await device.flush(this.call)
    })
  }

  async read(volume: BackendVolume, offset: number, length: number): Promise<Buffer> {
    const bytes = await this.withDevice(volume, 'r', (device) => readBytes(device, offset, length, this.call))
    return Buffer.from(bytes)
  }

  async size(volume: BackendVolume): Promise<number> {
    return await this.withDevice(volume, 'r', async (device) => device.sizeBytes)
  }

  async removeEverything(): Promise<void> {
    for (const snapshot of this.#snapshots.values()) {
      await this.driver.snapshots?.delete(snapshot, this.call)
    }
    for (const volume of this.#volumes.values()) await this.driver.delete(volume, this.call)
    this.#snapshots.clear()
    this.#volumes.clear()
  }

  async restart(): Promise<void> {
    await this.driver[Symbol.asyncDispose]()
    this.driver = await present(this.fixture.reopen).call(this.fixture)
    await this.driver.start(this.call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.removeEverything().catch(() => {}) // the case has failed by then and says why
    await this.driver[Symbol.asyncDispose]()
  }
}

export function present<Feature>(feature: Feature | undefined): Feature {
  assert.ok(feature !== undefined)
  return feature
}

export const equal = (actual: Uint8Array, expected: Uint8Array, what: string) =>
  assert.ok(Buffer.compare(actual, expected) === 0, what)

export const hostA: Connector = { initiator: 'iqn.2026-01.example:host-a', host: 'host-a', ip: '127.0.0.1' }
export const hostB: Connector = { initiator: 'iqn.2026-01.example:host-b', host: 'host-b', ip: '127.0.0.1' }
