import assert from 'node:assert/strict'
import {
  type AppInstance,
  ArrayAccess,
  type ConnectedArray,
  onlyVolume,
  removeAppInstance,
  type Snapshot,
  untilSnapshotReady,
} from '@emberglass/edf'
import { readBytes } from '@emberglass/iscsi'
import { TestArray } from '../../../../packages/edf/src/client/array.test-support.ts'
import { uncancelled } from '../../../kernel/call.ts'
import { defaultsOf } from '../../../kernel/config/options.ts'
import { derivedUuid } from '../../../kernel/crypto/derived-uuid.ts'
import { Secret } from '../../../kernel/secret.ts'
import type { StoredBackup } from '../../backup-driver.ts'
import { decodeHeader, headerBytes } from './header.ts'
import { type DateraBackupSettings, dateraBackupOptions } from './options.ts'

const call = uncancelled()

/** The initiator of the drivers under test. */
export const initiatorName = 'iqn.2026-01.org.emberglass:test-backups'

/** An array for the tests of a file, and ways to look at it and to spoil what lies on it. For tests only. */
export class BackupArray implements AsyncDisposable {
  readonly array: TestArray
  readonly #access: ArrayAccess
  #tenants = 0

  private constructor(array: TestArray) {
    this.array = array
    this.#access = new ArrayAccess({
      client: async () => array.clientOptions(),
      disks: {
        initiatorName: 'iqn.2026-01.org.emberglass:test-hand',
        iscsiPort: 3260, // the array tells its own
        chap: () => undefined,
        multipath: false,
        onLeftBehind: (path, error) => assert.fail(`${path}: ${String(error)}`),
      },
      onTenantRefused: (_tenant, error) => assert.fail(error),
    })
  }

  static async start(): Promise<BackupArray> {
    return new BackupArray(await TestArray.start())
  }

  /** A tenant that no other test uses. */
  nextTenant(): string {
    this.#tenants += 1
    return `/root/case-${this.#tenants}`
  }

  settings(changes: Partial<DateraBackupSettings>): DateraBackupSettings {
    return {
      ...defaultsOf(dateraBackupOptions),
      host: '127.0.0.1',
      apiPort: this.array.proxy.port,
      useSsl: false,
      login: this.array.node.login,
      password: new Secret(this.array.node.password),
      replicaCount: 1,
      blockBytes: 65_536,
      ...changes,
    }
  }

  connected(): Promise<ConnectedArray> {
    return this.#access.connect(call)
  }

  async appInstances(tenant: string): Promise<readonly AppInstance[]> {
    const { client } = await this.connected()
    return await client.in(tenant).appInstances.list({}, call)
  }

  async containerOf(tenant: string, backup: StoredBackup): Promise<AppInstance> {
    const found = (await this.appInstances(tenant)).find(({ name }) => name === `BACKUP-${backup.id}`)
    assert.ok(found !== undefined, `there is BACKUP-${backup.id}`)
    return found
  }

  /** Writes bytes to a container's volume from its first byte, and takes a snapshot of it. */
  async freeze(tenant: string, container: AppInstance, bytes: Uint8Array, uuid?: string): Promise<void> {
    const { client, disks } = await this.connected()
    await using disk = await disks.open(tenant, container, 'rw', call)
    const padded = new Uint8Array(Math.ceil(bytes.byteLength / disk.blockSize) * disk.blockSize)
    padded.set(bytes)
    await disk.write(0, padded, call)
    await disk.flush(call)
    const scope = client.in(tenant)
    const { volume } = onlyVolume(container)
    const taken = await scope.snapshots(volume).create(uuid === undefined ? {} : { uuid }, call)
    await untilSnapshotReady(scope, volume, taken, 60_000, call)
  }

  /** Of a container, the oldest first. */
  async snapshots(tenant: string, container: AppInstance): Promise<readonly Snapshot[]> {
    const { client } = await this.connected()
    const snapshots = await client.in(tenant).snapshots(onlyVolume(container).volume).list({}, call)
    return snapshots.toSorted((one, other) => Number(one.utc_ts) - Number(other.utc_ts))
  }

  /** The bytes that each snapshot of a container begins with, the oldest first. */
  async frozen(tenant: string, container: AppInstance, bytes: number): Promise<readonly Buffer[]> {
    const found: Buffer[] = []
    for (const { path } of await this.snapshots(tenant, container)) {
      found.push(Buffer.from(await this.#read(tenant, path, bytes)))
    }
    return found
  }

  /** A snapshot cannot be written to: it is taken again, of bytes with one flipped. */
  async flip(tenant: string, backup: StoredBackup, name: string): Promise<void> {
    const container = await this.containerOf(tenant, backup)
    const uuid = derivedUuid(backup.id, name)
    const found = (await this.snapshots(tenant, container)).find((one) => one.uuid === uuid)
    assert.ok(found !== undefined, `there is ${name}`)
    const head = await this.#read(tenant, found.path, 4096)
    const whole = headerBytes + decodeHeader(head).payloadBytes
    const bytes = await this.#read(tenant, found.path, Math.ceil(whole / 4096) * 4096)
    const at = headerBytes + ((whole - headerBytes) >> 1)
    bytes[at] = (bytes[at] ?? 0) ^ 4
    const { client } = await this.connected()
    const { volume } = onlyVolume(container)
    await client.in(tenant).snapshots(volume).delete(found.path, {}, call)
    await this.freeze(tenant, container, bytes, uuid)
  }

  async #read(tenant: string, snapshotPath: string, bytes: number): Promise<Uint8Array> {
    const { client, disks } = await this.connected()
    const scope = client.in(tenant)
    const copy = await scope.appInstances.create(
      { create_mode: 'openstack', name: 'copy-to-look-at', clone_snapshot_src: { path: snapshotPath } },
      call,
    )
    try {
      await using disk = await disks.open(tenant, copy, 'r', call)
      return await readBytes(disk, 0, bytes, call)
    } finally {
      await removeAppInstance(scope, copy, call)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#access[Symbol.asyncDispose]()
    await this.array[Symbol.asyncDispose]()
  }
}
