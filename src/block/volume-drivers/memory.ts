import { type BlockDevice, checkRange, type Done, type Extent } from '@emberglass/iscsi'
import { GiB, KiB } from '../../kernel/bytes.ts'
import type { Call } from '../../kernel/call.ts'
import { integer } from '../../kernel/config/options.ts'
import { BackendError, Conflict, Invalid, NoCapacity, NotFound } from '../../kernel/errors.ts'
import {
  type BackendSnapshot,
  type BackendVolume,
  type Clones,
  type Connection,
  type Connector,
  type Created,
  defineVolumeDriver,
  type NewVolume,
  type Pool,
  type Snapshots,
  type VolumeDriver,
} from '../volume-driver.ts'

const pageBytes = 64 * KiB
const blockSize = 512
const providerLocation = (id: string) => `memory:${id}`

/** A page belongs to one holder; whoever else refers to it copies it before writing. */
interface Page {
  readonly holder: object
  readonly bytes: Uint8Array
}

/** Sparse bytes; copies share their pages until one of them writes. */
class Contents {
  #holder: object = {}
  #pages: Map<number, Page>

  constructor(pages: Map<number, Page> = new Map()) {
    this.#pages = pages
  }

  /** A copy of the moment: neither side sees what the other writes later. */
  copy(): Contents {
    this.#holder = {}
    return new Contents(new Map(this.#pages))
  }

  page(index: number): Uint8Array | undefined {
    return this.#pages.get(index)?.bytes
  }

  writable(index: number): Uint8Array {
    const page = this.#pages.get(index)
    if (page !== undefined && page.holder === this.#holder) return page.bytes
    const bytes = page === undefined ? new Uint8Array(pageBytes) : page.bytes.slice()
    this.#pages.set(index, { holder: this.#holder, bytes })
    return bytes
  }

  drop(index: number): void {
    this.#pages.delete(index)
  }
}

interface StoredVolume {
  sizeBytes: number
  readonly contents: Contents
  readonly snapshots: Map<string, { readonly sizeBytes: number; readonly contents: Contents }>
  /** Keys of the connectors that were let in. */
  readonly connectors: Set<string>
}

/** Calls `visit` for each page that a range touches. */
function eachPage(
  offset: number,
  length: number,
  visit: (index: number, start: number, end: number, done: number) => void,
): void {
  let done = 0
  while (done < length) {
    const at = offset + done
    const start = at % pageBytes
    const end = Math.min(pageBytes, start + length - done)
    visit(Math.floor(at / pageBytes), start, end, done)
    done += end - start
  }
}

class MemoryVolumeDevice implements BlockDevice {
  readonly blockSize = blockSize
  readonly #volume: StoredVolume
  readonly #writable: boolean

  constructor(volume: StoredVolume, writable: boolean) {
    this.#volume = volume
    this.#writable = writable
  }

  get sizeBytes(): number {
    return this.#volume.sizeBytes
  }

  read(offset: number, into: Uint8Array, call: { readonly signal: AbortSignal }): Done {
    call.signal.throwIfAborted()
    checkRange(this, offset, into.byteLength)
    eachPage(offset, into.byteLength, (index, start, end, done) => {
      const page = this.#volume.contents.page(index)
      if (page === undefined) into.fill(0, done, done + end - start)
      else into.set(page.subarray(start, end), done)
    })
    return undefined
  }

  write(offset: number, data: Uint8Array, call: { readonly signal: AbortSignal }): Done {
    call.signal.throwIfAborted()
    checkRange(this, offset, data.byteLength)
    this.#checkWritable()
    eachPage(offset, data.byteLength, (index, start, end, done) => {
      this.#volume.contents.writable(index).set(data.subarray(done, done + end - start), start)
    })
    return undefined
  }

  async flush(call: { readonly signal: AbortSignal }): Promise<void> {
    call.signal.throwIfAborted()
  }

  async unmap(offset: number, length: number, call: { readonly signal: AbortSignal }): Promise<void> {
    call.signal.throwIfAborted()
    checkRange(this, offset, length)
    this.#checkWritable()
    eachPage(offset, length, (index, start, end) => {
      if (end - start === pageBytes) this.#volume.contents.drop(index)
      else if (this.#volume.contents.page(index) !== undefined) {
        this.#volume.contents.writable(index).fill(0, start, end)
      }
    })
  }

  async writeZeroes(offset: number, length: number, call: { readonly signal: AbortSignal }): Promise<void> {
    await this.unmap(offset, length, call)
  }

  async extents(
    offset: number,
    length: number,
    call: { readonly signal: AbortSignal },
  ): Promise<readonly Extent[]> {
    call.signal.throwIfAborted()
    checkRange(this, offset, length)
    const found: { offset: number; length: number; state: 'data' | 'hole' }[] = []
    eachPage(offset, length, (index, start, end, done) => {
      const state = this.#volume.contents.page(index) === undefined ? 'hole' : 'data'
      const last = found.at(-1)
      if (last?.state === state) last.length += end - start
      else found.push({ offset: offset + done, length: end - start, state })
    })
    return found
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #checkWritable(): void {
    if (!this.#writable)
      throw new BackendError('The volume was opened for reading only.', { left: 'nothing' })
  }
}

/** Volumes in the memory of this process: for tests and for a look round. Nothing survives the process. */
export class MemoryVolumeDriver implements VolumeDriver {
  readonly #poolName: string
  readonly #capacityBytes: number
  readonly #volumes = new Map<string, StoredVolume>()

  constructor(options: { poolName: string; capacityBytes: number }) {
    this.#poolName = options.poolName
    this.#capacityBytes = options.capacityBytes
  }

  /** Ids of every volume and snapshot that is kept. For tests. */
  get ids(): readonly string[] {
    return [...this.#volumes].flatMap(([id, volume]) => [id, ...volume.snapshots.keys()])
  }

  async start(call: Call): Promise<void> {
    call.signal.throwIfAborted()
  }

  async pools(call: Call): Promise<readonly Pool[]> {
    call.signal.throwIfAborted()
    return [
      {
        name: this.#poolName,
        totalBytes: this.#capacityBytes,
        freeBytes: this.#capacityBytes - this.#usedBytes(),
        capabilities: {
          vendor_name: 'Emberglass',
          driver_version: '1.0',
          storage_protocol: 'memory',
          thin_provisioning_support: false,
          thick_provisioning_support: true,
          QoS_support: false,
          multiattach: true,
          online_extend_support: true,
          sparse_copy_volume: true,
        },
      },
    ]
  }

  async create(volume: NewVolume, call: Call): Promise<Created> {
    return this.#add(volume, new Contents(), call)
  }

  async delete(volume: BackendVolume, call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stored = this.#volumes.get(volume.id)
    if (stored !== undefined && stored.snapshots.size > 0) {
      throw new Conflict(`Volume ${volume.id} still has ${stored.snapshots.size} snapshots.`)
    }
    this.#volumes.delete(volume.id)
  }

  async extend(volume: BackendVolume, sizeBytes: number, call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stored = this.#find(volume)
    if (sizeBytes <= stored.sizeBytes) return
    this.#checkCapacity(sizeBytes - stored.sizeBytes)
    stored.sizeBytes = sizeBytes
  }

  async attach(volume: BackendVolume, to: Connector, call: Call): Promise<Connection> {
    call.signal.throwIfAborted()
    const stored = this.#find(volume)
    const key = connectorKey(to)
    stored.connectors.add(key)
    return { driverVolumeType: 'memory', data: { volume_id: volume.id, connector: key } }
  }

  async detach(volume: BackendVolume, from: Connector | 'everyone', call: Call): Promise<void> {
    call.signal.throwIfAborted()
    const stored = this.#volumes.get(volume.id)
    if (from === 'everyone') stored?.connectors.clear()
    else stored?.connectors.delete(connectorKey(from))
  }

  async open(volume: BackendVolume, mode: 'r' | 'rw', call: Call): Promise<BlockDevice> {
    call.signal.throwIfAborted()
    return new MemoryVolumeDevice(this.#find(volume), mode === 'rw')
  }

  /** Whether a connector was let in and not yet shut out. For tests. */
  isAttached(volumeId: string, connector: Connector): boolean {
    return this.#volumes.get(volumeId)?.connectors.has(connectorKey(connector)) ?? false
  }

  readonly snapshots: Snapshots = {
    create: async (snapshot, call) => {
      call.signal.throwIfAborted()
      const stored = this.#find(snapshot.volume)
      if (!stored.snapshots.has(snapshot.id)) {
        const taken = { sizeBytes: stored.sizeBytes, contents: stored.contents.copy() }
        stored.snapshots.set(snapshot.id, taken)
      }
      return { providerLocation: providerLocation(snapshot.id) }
    },
    delete: async (snapshot, call) => {
      call.signal.throwIfAborted()
      this.#volumes.get(snapshot.volume.id)?.snapshots.delete(snapshot.id)
    },
    createVolume: async (snapshot: BackendSnapshot, volume, call) => {
      const taken = this.#find(snapshot.volume).snapshots.get(snapshot.id)
      if (taken === undefined) throw new NotFound(`Snapshot ${snapshot.id} is not on this backend.`)
      return this.#add(volume, taken.contents.copy(), call)
    },
  }

  readonly clones: Clones = {
    create: async (source, volume, call) => this.#add(volume, this.#find(source).contents.copy(), call),
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #add(volume: NewVolume, contents: Contents, call: Call): Created {
    call.signal.throwIfAborted()
    if (!this.#volumes.has(volume.id)) {
      this.#checkCapacity(volume.sizeBytes)
      const { sizeBytes } = volume
      this.#volumes.set(volume.id, { sizeBytes, contents, snapshots: new Map(), connectors: new Set() })
    }
    return { providerLocation: providerLocation(volume.id) }
  }

  #find(volume: { readonly id: string }): StoredVolume {
    const stored = this.#volumes.get(volume.id)
    if (stored === undefined) throw new NotFound(`Volume ${volume.id} is not on this backend.`)
    return stored
  }

  #usedBytes(): number {
    let used = 0
    for (const volume of this.#volumes.values()) used += volume.sizeBytes
    return used
  }

  #checkCapacity(moreBytes: number): void {
    const freeBytes = this.#capacityBytes - this.#usedBytes()
    if (moreBytes > freeBytes) {
      throw new NoCapacity(`The pool has ${freeBytes} bytes free, ${moreBytes} are needed.`, {
        details: { freeBytes, moreBytes },
      })
    }
  }
}

function connectorKey(connector: Connector): string {
  const key = connector.initiator ?? connector.host
  if (key === undefined) throw new Invalid('The connector names neither an initiator nor a host.')
  return key
}

export default defineVolumeDriver({
  name: 'memory',
  aliases: ['cinder.tests.fake_driver.FakeLoggingVolumeDriver'],
  options: {
    capacityGib: integer('memory_capacity_gb', {
      help: 'GiB that the pool claims to have. Only what is written takes memory.',
      default: 10_000,
      min: 1,
    }),
  },
  create: (settings, backend) =>
    new MemoryVolumeDriver({
      poolName: backend.volumeBackendName,
      capacityBytes: settings.capacityGib * GiB,
    }),
})
