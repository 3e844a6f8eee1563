import { randomBytes } from 'node:crypto'
import { ExportedDevice, type ThinStore } from '@emberglass/edf/store'
import type { Portal } from '@emberglass/iscsi/initiator'
import { IscsiServer, type IscsiTarget } from '@emberglass/iscsi/target'
import type { AccessRecord, AccessRecords } from './access-records.ts'

/** A volume that nobody used for this long gives its open files back, in milliseconds. */
const idleMs = 60_000

interface Export {
  readonly target: IscsiTarget
  readonly device: ExportedDevice
}

/** How hosts reach the volumes. */
export interface ExportOptions {
  readonly store: ThinStore
  readonly records: AccessRecords
  readonly targetPrefix: string
  /** Undefined: hosts need no password. Without a name of its own each volume gets one. */
  readonly chap: { readonly username: string; readonly password: string | undefined } | undefined
}

/**
 * One iSCSI target for each volume that somebody is attached to, with the volume as its unit 0. Who was let in is
 * written down before a host may log in, so that hosts find their volumes again after a restart.
 */
export class Exports implements AsyncDisposable {
  readonly #options: ExportOptions
  readonly #server = new IscsiServer()
  readonly #exports = new Map<string, Export>()
  readonly #sweeper: NodeJS.Timeout
  #portals: readonly Portal[] = []

  constructor(options: ExportOptions) {
    this.#options = options
    this.#sweeper = setInterval(() => void this.#sweep(), idleMs / 2)
    this.#sweeper.unref()
  }

  /** Listens, and exports what hosts were attached to. @throws the socket's error */
  async start(addresses: readonly string[], port: number): Promise<void> {
    const portals: Portal[] = []
    for (const host of addresses) {
      portals.push(await this.#server.listen({ host, port: portals[0]?.port ?? port }))
    }
    this.#portals = portals
    const sizes = new Map(this.#options.store.list().map(({ id, sizeBytes }) => [id, sizeBytes]))
    for (const key of await this.#options.records.keys()) {
      const record = await this.#options.records.read(key)
      const sizeBytes = sizes.get(key)
      if (record !== undefined && sizeBytes !== undefined) await this.#present(key, sizeBytes, record)
      else await this.#options.records.remove(key)
    }
  }

  /** `host:port` of each, IPv6 in brackets. */
  get portals(): readonly string[] {
    return this.#portals.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`)
  }

  targetName(key: string): string {
    return `${this.#options.targetPrefix}volume-${key}`.toLowerCase()
  }

  /** Lets a host in. Again: fine. @returns what it logs in with */
  async admit(key: string, sizeBytes: number, initiator: string): Promise<AccessRecord['chap']> {
    const before = await this.#options.records.read(key)
    const initiators = [...new Set([...(before?.initiators ?? []), initiator])]
    const record = { initiators, chap: this.#chapOf(before) }
    if (JSON.stringify(record) !== JSON.stringify(before)) await this.#options.records.write(key, record)
    await this.#present(key, sizeBytes, record)
    return record.chap
  }

  /** Shuts a host, or everyone, out; their sessions end. Not let in: fine. */
  async expel(key: string, who: string | 'everyone'): Promise<void> {
    const before = await this.#options.records.read(key)
    const left = who === 'everyone' ? [] : (before?.initiators ?? []).filter((name) => name !== who)
    if (before === undefined || left.length === 0) {
      await this.#withdraw(key)
      await this.#options.records.remove(key)
      return
    }
    const record = { ...before, initiators: left }
    await this.#options.records.write(key, record)
    await this.#exports.get(key)?.target.setAccess(accessOf(record))
  }

  /** Whether anybody was let in. */
  isAttached(key: string): boolean {
    return this.#exports.has(key)
  }

  /** Tells hosts that a volume has grown. */
  grown(key: string, sizeBytes: number): void {
    const present = this.#exports.get(key)
    present?.device.grown(sizeBytes)
    present?.target.capacityChanged(0)
  }

  /** Runs work while no host changes these volumes; hosts wait, they do not fail. */
  async still<Result>(keys: readonly string[], work: () => Promise<Result>): Promise<Result> {
    const devices = keys.flatMap((key) => this.#exports.get(key)?.device ?? [])
    try {
      await Promise.all(devices.map((device) => device.freeze()))
      return await work()
    } finally {
      for (const device of devices) device.thaw()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper)
    await this.#server.close()
    await Promise.all([...this.#exports.values()].map(({ device }) => device.close()))
    this.#exports.clear()
  }

  async #present(key: string, sizeBytes: number, record: AccessRecord): Promise<void> {
    const present = this.#exports.get(key)
    if (present !== undefined) return await present.target.setAccess(accessOf(record))
    const target = this.#server.addTarget({ name: this.targetName(key), access: accessOf(record) })
    const device = new ExportedDevice(sizeBytes, () => this.#options.store.open(key))
    target.addLun(0, { device, serial: key.slice(0, 64), vendor: 'EMBERGLS', product: 'LOCAL VOLUME' })
    this.#exports.set(key, { target, device })
  }

  async #withdraw(key: string): Promise<void> {
    const present = this.#exports.get(key)
    if (present === undefined) return
    this.#exports.delete(key)
    await this.#server.removeTarget(present.target.name)
    await present.device.close()
  }

  /** Credentials stay those of the first host, so that no session is refused when it comes back. */
  #chapOf(before: AccessRecord | undefined): AccessRecord['chap'] {
    const { chap } = this.#options
    if (chap === undefined) return undefined
    const { username, password } = chap
    if (password !== undefined) return { username, password }
    return (
      before?.chap ?? {
        username: randomBytes(10).toString('hex'),
        password: randomBytes(8).toString('hex'),
      }
    )
  }

  async #sweep(): Promise<void> {
    for (const { device } of [...this.#exports.values()]) {
      await device.closeIdle(idleMs).catch(() => undefined) // the next use says what is wrong
    }
  }
}

function accessOf({ initiators, chap }: AccessRecord) {
  const names = initiators.map((name) => name.toLowerCase())
  return chap === undefined ? { initiators: names } : { initiators: names, chap }
}
