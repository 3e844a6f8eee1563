import type { RbdImage } from '../../../ceph/image.ts'
import type { RbdPool } from '../../../ceph/pool.ts'
import type { Call } from '../../../kernel/call.ts'
import { Conflict, Invalid, NotFound } from '../../../kernel/errors.ts'
import type {
  BackendSnapshot,
  BackendVolume,
  Created,
  Known,
  Manage,
  Manageable,
  ManageableSnapshot,
  ManageReference,
  ManageSnapshots,
  NewVolume,
} from '../../volume-driver.ts'
import { imageName, isCloneSnapshot, isMoment, snapshotName, volumeNote } from './naming.ts'

type PoolOf = (call: Call) => Promise<RbdPool>

const created: Created = { providerLocation: undefined }

function nameIn(reference: ManageReference): string {
  const name = reference['source-name']
  if (name === undefined || name === '') throw new Invalid('The reference must contain source-name.')
  return name
}

/** Images of the pool, by `source-name`. */
export class RbdManage implements Manage {
  readonly #pool: PoolOf

  constructor(pool: PoolOf) {
    this.#pool = pool
  }

  async list(known: Known, call: Call): Promise<readonly Manageable[]> {
    const pool = await this.#pool(call)
    const idByName = new Map(known.volumes.map(({ id }) => [imageName(id), id]))
    const listed: Manageable[] = []
    for (const name of await pool.names(call)) {
      const sizeBytes = await sizeIfThere(pool, name, call)
      if (sizeBytes === undefined) continue
      const managedAs = idByName.get(name)
      listed.push({
        reference: { 'source-name': name },
        sizeBytes,
        safeToManage: managedAs === undefined,
        reasonNotSafe: managedAs === undefined ? undefined : 'already managed',
        managedAs,
        extraInfo: undefined,
      })
    }
    return listed
  }

  async sizeBytes(volume: NewVolume, reference: ManageReference, call: Call): Promise<number> {
    const pool = await this.#pool(call)
    const name = nameIn(reference)
    const sizeBytes =
      (await sizeIfThere(pool, name, call)) ?? (await sizeIfThere(pool, imageName(volume.id), call))
    if (sizeBytes === undefined) throw new Invalid(`There is no image ${name} in the pool.`)
    return sizeBytes
  }

  async manage(volume: NewVolume, reference: ManageReference, known: Known, call: Call): Promise<Created> {
    const pool = await this.#pool(call)
    const from = nameIn(reference)
    const to = imageName(volume.id)
    const owner = known.volumes.find(({ id }) => imageName(id) === from && id !== volume.id)
    if (owner !== undefined) throw new Conflict(`Image ${from} is managed already, as volume ${owner.id}.`)
    try {
      await pool.rename(from, to, call)
    } catch (error) {
      if (error instanceof NotFound) throw new Invalid(`There is no image ${from} in the pool.`)
      throw error
    }
    const note = (image: RbdImage) => image.setNote(volumeNote, volume.id, call)
    await pool.withImage(to, { readOnly: false }, note, call)
    return created
  }

  /** What is managed is known by its name alone. */
  async unmanage(): Promise<void> {}
}

/** Snapshots of an image, by `source-name`. */
export class RbdManageSnapshots implements ManageSnapshots {
  readonly #pool: PoolOf

  constructor(pool: PoolOf) {
    this.#pool = pool
  }

  async list(known: Known, call: Call): Promise<readonly ManageableSnapshot[]> {
    const pool = await this.#pool(call)
    const idByName = new Map(known.snapshots.map(({ id }) => [snapshotName(id), id]))
    const listed: ManageableSnapshot[] = []
    for (const volume of known.volumes) {
      const image = imageName(volume.id)
      for (const { name, sizeBytes } of await snapshotsIfThere(pool, image, call)) {
        if (isCloneSnapshot(name) || isMoment(name)) continue
        const managedAs = idByName.get(name)
        listed.push({
          reference: { 'source-name': name },
          sourceReference: { 'source-name': image },
          sizeBytes,
          safeToManage: managedAs === undefined,
          reasonNotSafe: managedAs === undefined ? undefined : 'already managed',
          managedAs,
          extraInfo: undefined,
        })
      }
    }
    return listed
  }

  async sizeBytes(volume: BackendVolume, reference: ManageReference, call: Call): Promise<number> {
    const name = nameIn(reference)
    const snapshots = await snapshotsIfThere(await this.#pool(call), imageName(volume.id), call)
    const found = snapshots.find((candidate) => candidate.name === name)
    if (found === undefined) throw new Invalid(`There is no snapshot ${name} of volume ${volume.id}.`)
    return found.sizeBytes
  }

  async manage(
    snapshot: Omit<BackendSnapshot, 'providerLocation'>,
    reference: ManageReference,
    known: Known,
    call: Call,
  ): Promise<Created> {
    const pool = await this.#pool(call)
    const from = nameIn(reference)
    const owner = known.snapshots.find(({ id }) => snapshotName(id) === from && id !== snapshot.id)
    if (owner !== undefined) throw new Conflict(`Snapshot ${from} is managed already.`)
    const to = snapshotName(snapshot.id)
    const take = async (image: RbdImage) => {
      const names = (await image.snapshots(call)).map(({ name }) => name)
      if (names.includes(to)) return
      if (!names.includes(from)) {
        throw new Invalid(`There is no snapshot ${from} of volume ${snapshot.volume.id}.`)
      }
      await image.renameSnapshot(from, to, call)
    }
    await pool.withImage(imageName(snapshot.volume.id), { readOnly: false }, take, call)
    return created
  }

  /** Nothing of it is kept on the backend. */
  async unmanage(): Promise<void> {}
}

async function sizeIfThere(pool: RbdPool, name: string, call: Call): Promise<number | undefined> {
  try {
    return await pool.withImage(name, { readOnly: true }, async (image) => image.sizeBytes(), call)
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}

async function snapshotsIfThere(
  pool: RbdPool,
  image: string,
  call: Call,
): Promise<readonly { name: string; sizeBytes: number }[]> {
  try {
    return await pool.withImage(image, { readOnly: true }, (opened) => opened.snapshots(call), call)
  } catch (error) {
    if (error instanceof NotFound) return []
    throw error
  }
}
