import { setTimeout as sleep } from 'node:timers/promises'
import { type BlockDevice, zeroRange } from '@emberglass/iscsi/device'
import { CephCluster } from '../../../ceph/cluster.ts'
import { RbdDevice } from '../../../ceph/device.ts'
import { isErrno } from '../../../ceph/failure.ts'
import type { RbdImage } from '../../../ceph/image.ts'
import type { ImageLayout, RbdPool } from '../../../ceph/pool.ts'
import type { Call } from '../../../kernel/call.ts'
import { BackendError, Invalid, Misconfigured, messageOf, NotFound } from '../../../kernel/errors.ts'
import type {
  BackupCall,
  BackupDriver,
  BackupPlan,
  BackupResult,
  BackupSource,
  NewBackup,
  Placement,
  StoredBackup,
} from '../../backup-driver.ts'
import { DamagedBlob } from '../chunked/blob-store.ts'
import type { BlockDigests } from '../chunked/block-digests.ts'
import { deviceSink, nowhere, type Sink } from '../chunked/read-backup.ts'
import {
  digestsName,
  readDigests,
  readFacts,
  readFactsIfThere,
  removeDocuments,
  writeDocuments,
} from './documents.ts'
import { baseIn, baseName, basesOf, factsName, isSnapshotOf, prefixOf, snapshotName } from './naming.ts'
import type { CephBackupSettings } from './options.ts'
import { DamagedUnit, readImage } from './read-image.ts'
import { type Beneath, writeImage } from './write-image.ts'

/** How long a client that died may hold an image: Ceph forgets it after 30 s. */
const staleClientMs = 90_000
const staleClientRetryMs = 2_000

/**
 * Backups as images of a Ceph pool, laid out as Cinder's own driver lays them out: a full backup is an image and its
 * first snapshot, each increment on it another snapshot. Digests of all blocks lie beside it.
 * @see cinder/backup/drivers/ceph.py
 */
export class CephBackupDriver implements BackupDriver {
  readonly #settings: CephBackupSettings
  #cluster: CephCluster | undefined

  constructor(settings: CephBackupSettings) {
    this.#settings = settings
  }

  async start(call: Call): Promise<void> {
    const { configurationFile, user, pool, encryptionKeyFile } = this.#settings
    if (encryptionKeyFile !== undefined) {
      throw new Misconfigured('backup_encryption_key_file is set, and backups in Ceph cannot be encrypted.')
    }
    const settings = { configurationFile, clusterName: 'ceph', user, timeoutSeconds: -1 }
    this.#cluster ??= await CephCluster.connect(settings, call)
    await this.#pool(pool, call)
  }

  /** An increment lies in the image of its parent. */
  place({ id, volumeId, container }: BackupPlan, parent?: Placement): Placement {
    const base = (parent && baseIn(parent.prefix)) ?? baseName(volumeId, id)
    return {
      container: parent?.container ?? container ?? this.#settings.pool,
      prefix: prefixOf(base),
      encrypted: false,
    }
  }

  async backup(backup: NewBackup, source: BackupSource, call: BackupCall): Promise<BackupResult> {
    const { sizeBytes, parent } = backup
    if (source.device.sizeBytes < sizeBytes) {
      throw new Invalid(`The volume has ${source.device.sizeBytes} bytes, not ${sizeBytes}.`)
    }
    if (parent !== undefined && parent.sizeBytes < sizeBytes) {
      throw new Invalid('Volume size increased since the last backup. Do a full backup.')
    }
    await this.delete(backup, call)
    const pool = await this.#pool(backup.container, call)
    const base = baseIn(backup.prefix) ?? baseName(backup.volumeId, backup.id)
    if (parent === undefined) await pool.create(base, sizeBytes, this.#layout(), call)
    const beneath = parent && (await this.#beneath(pool, base, parent, call))
    await using image = await pool.open(base, { readOnly: false }, call)
    const written = await writeImage(new RbdDevice(image), { sizeBytes, source }, beneath, call)
    const metadataSha256 = await writeDocuments(pool, backup, written.digests, call)
    await image.createSnapshot(snapshotName(backup.id, backup.createdAt), call)
    return { objectCount: written.unitCount, metadataSha256 }
  }

  async restore(
    chain: readonly StoredBackup[],
    into: BlockDevice,
    { targetIsZeroed }: { readonly targetIsZeroed: boolean },
    call: BackupCall,
  ): Promise<readonly string[]> {
    const facts = await this.#read(chain, deviceSink(into, targetIsZeroed), call)
    const restored = chain.at(-1)?.sizeBytes ?? 0
    if (this.#settings.discardExcessBytes && !targetIsZeroed && into.sizeBytes > restored) {
      await zeroRange(into, restored, into.sizeBytes - restored, call)
      await into.flush(call)
    }
    return facts
  }

  async verify(chain: readonly StoredBackup[], call: BackupCall): Promise<void> {
    await this.#read(chain, nowhere, call)
  }

  async find(backup: StoredBackup, call: Call): Promise<void> {
    const pool = await this.#pool(backup.container, call)
    await using _ = await this.#openSnapshot(pool, backup, call)
    await this.#named(backup, factsName(backup.id), () => readFactsIfThere(pool, backup, call))
  }

  async delete(backup: StoredBackup, call: Call): Promise<void> {
    const pool = await this.#pool(backup.container, call)
    for (const base of basesOf(backup)) {
      const isEmpty = await ifThere(() =>
        pool.withImage(base, { readOnly: false }, (image) => removeSnapshots(image, backup.id, call), call),
      )
      // one that cannot be opened may be half removed: its name is then still listed
      const isOurs = base === baseName(backup.volumeId, backup.id)
      if (isEmpty ?? isOurs) await removeImage(pool, base, call)
    }
    await removeDocuments(pool, backup.id, call)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster?.[Symbol.asyncDispose]()
    this.#cluster = undefined
  }

  async #pool(name: string, call: Call): Promise<RbdPool> {
    if (this.#cluster === undefined) throw new Misconfigured('The ceph backup driver has not started.')
    return await this.#cluster.pool(name, call)
  }

  #layout(): ImageLayout {
    const { stripeUnitBytes: unitBytes, stripeCount: count, imageJournals: journal } = this.#settings
    return { journal, ...(unitBytes > 0 && count > 0 ? { stripes: { unitBytes, count } } : {}) }
  }

  /** What an increment is written over. @throws BackendError when the parent cannot be read */
  async #beneath(pool: RbdPool, base: string, parent: StoredBackup, call: BackupCall): Promise<Beneath> {
    try {
      const facts = await readFactsIfThere(pool, parent, call)
      let digests: BlockDigests
      {
        await using image = await this.#openSnapshot(pool, parent, call)
        digests =
          facts?.digestsSha256 === undefined
            ? await readImage(new RbdDevice(image), parent.sizeBytes, undefined, nowhere, {
                ...call,
                onProgress: () => {},
              })
            : await readDigests(pool, parent, facts.digestsSha256, call)
      }
      const range = { offset: 0, length: parent.sizeBytes }
      const extents = await pool.withImage(
        base,
        { readOnly: true },
        async (image) => {
          const names = (await image.snapshots(call)).map(({ name }) => name)
          const since = names.find((name) => isSnapshotOf(parent.id, name))
          if (since === undefined) throw new NotFound(`Snapshot of backup ${parent.id} is gone.`)
          return await image.extents(range, { since, granularity: 'object' }, call)
        },
        call,
      )
      return { digests, astray: extents.filter(({ state }) => state !== 'hole') }
    } catch (error) {
      if (!(error instanceof DamagedBlob) && !(error instanceof NotFound)) throw error
      throw new BackendError(
        `The parent backup ${parent.id} in container ${parent.container} cannot be read: ${messageOf(error)}. Do a full backup.`,
        { left: 'nothing', cause: error },
      )
    }
  }

  /** Each snapshot has all bytes: of the levels before it only the facts are read. */
  async #read(chain: readonly StoredBackup[], sink: Sink, call: BackupCall): Promise<readonly string[]> {
    const allFacts: string[] = []
    for (const [level, backup] of chain.entries()) {
      const pool = await this.#pool(backup.container, call)
      const name = factsName(backup.id)
      const read = backup.metadataSha256 === undefined ? readFactsIfThere : readFacts
      const facts = await this.#named(backup, name, () => read(pool, backup, call))
      if (facts !== undefined) allFacts.push(facts.volumeMetadata)
      if (level < chain.length - 1) continue
      const listed = facts?.digestsSha256
      const digests =
        listed === undefined
          ? undefined
          : await this.#named(backup, digestsName(backup.id), () => readDigests(pool, backup, listed, call))
      await using image = await this.#openSnapshot(pool, backup, call)
      await this.#named(backup, image.name, () =>
        readImage(new RbdDevice(image), backup.sizeBytes, digests, sink, call),
      )
    }
    return allFacts
  }

  /** The snapshot that is a backup. Whoever opens it closes it. @throws NotFound */
  async #openSnapshot(pool: RbdPool, backup: StoredBackup, call: Call): Promise<RbdImage> {
    for (const base of basesOf(backup)) {
      const snapshots =
        (await ifThere(() =>
          pool.withImage(base, { readOnly: true }, (image) => image.snapshots(call), call),
        )) ?? []
      const found = snapshots.find(({ name }) => isSnapshotOf(backup.id, name))
      if (found === undefined) continue
      if (found.sizeBytes < backup.sizeBytes) {
        throw new BackendError(
          `Backup ${backup.id} in container ${backup.container} has ${found.sizeBytes} bytes, not ${backup.sizeBytes}.`,
          { left: 'nothing' },
        )
      }
      return await pool.open(base, { readOnly: true, snapshot: found.name }, call)
    }
    throw new NotFound(`There is no backup ${backup.id} in the pool ${backup.container}.`)
  }

  /** Says which object it was that is damaged or missing. */
  async #named<Result>(backup: StoredBackup, name: string, read: () => Promise<Result>): Promise<Result> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof DamagedBlob) && !(error instanceof NotFound)) throw error
      const object = error instanceof DamagedUnit ? `${error.number} of ${name}` : name
      const where = `Object ${object} of backup ${backup.id} in container ${backup.container}`
      const what = error instanceof NotFound ? 'is missing' : `is damaged: ${messageOf(error)}`
      const details = { backupId: backup.id, object, container: backup.container }
      throw new BackendError(`${where} ${what}.`, { left: 'unknown', details, cause: error })
    }
  }
}

/** @returns whether nobody else's snapshots are left */
async function removeSnapshots(image: RbdImage, backupId: string, call: Call): Promise<boolean> {
  const all = (await image.snapshots(call)).map(({ name }) => name)
  const ours = all.filter((name) => isSnapshotOf(backupId, name))
  for (const name of ours) await image.removeSnapshot(name, call)
  return all.length === ours.length
}

/** Waits for Ceph to forget a client that died with the image open. @throws BackendError when it does not */
async function removeImage(pool: RbdPool, name: string, call: Call): Promise<void> {
  const limit = performance.now() + staleClientMs
  for (;;) {
    try {
      await pool.remove(name, call)
      return
    } catch (error) {
      if (!isErrno(error, 'EBUSY')) throw error
      if (performance.now() > limit) {
        throw new BackendError(`Image ${pool.name}/${name} is still open on a host.`, {
          left: 'partial',
          cause: error,
        })
      }
      await sleep(staleClientRetryMs, undefined, { signal: call.signal })
    }
  }
}

async function ifThere<Result>(work: () => Promise<Result>): Promise<Result | undefined> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
