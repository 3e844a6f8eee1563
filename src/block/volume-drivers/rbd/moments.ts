import type { BlockDevice } from '@emberglass/iscsi/device'
import { RbdDevice } from '../../../ceph/device.ts'
import type { RbdImage } from '../../../ceph/image.ts'
import type { RbdPool } from '../../../ceph/pool.ts'
import { GiB, KiB } from '../../../kernel/bytes.ts'
import type { Call } from '../../../kernel/call.ts'
import { NotFound } from '../../../kernel/errors.ts'
import type { BackendVolume, Moments } from '../../volume-driver.ts'
import { imageName, isMoment, momentPrefix } from './naming.ts'

/** Ceph is asked for so much of a difference at once. */
const windowBytes = GiB
/** Changes that lie closer together than this are told as one; so many are told at most, about. */
const gapBytes = 64 * KiB
const mostExtents = 2 ** 18

/** Moments as snapshots of the volume's image, which Ceph compares by itself. */
export class RbdMoments implements Moments {
  readonly #pool: (call: Call) => Promise<RbdPool>

  constructor(pool: (call: Call) => Promise<RbdPool>) {
    this.#pool = pool
  }

  async create(volume: BackendVolume, id: string, call: Call): Promise<void> {
    const take = async (image: RbdImage) => {
      if ((await nameOf(image, id, call)) !== undefined) return
      await image.createSnapshot(`${momentPrefix(id)}${(Date.now() / 1000).toFixed(2)}`, call)
    }
    await this.#withImage(volume, take, call)
  }

  async open(volume: BackendVolume, id: string, call: Call): Promise<BlockDevice> {
    const snapshot = await this.#withImage(volume, (image) => nameOf(image, id, call), call)
    if (snapshot === undefined) throw new NotFound(`There is no moment ${id} of volume ${volume.id}.`)
    const pool = await this.#pool(call)
    return new RbdDevice(await pool.open(imageName(volume.id), { readOnly: true, snapshot }, call))
  }

  async changed(
    volume: BackendVolume,
    between: { readonly since: string; readonly until: string },
    call: Call,
  ): Promise<readonly { readonly offset: number; readonly length: number }[] | undefined> {
    const names = await this.#withImage(
      volume,
      async (image) => [await nameOf(image, between.since, call), await nameOf(image, between.until, call)],
      call,
    )
    const [since, snapshot] = names
    if (since === undefined || snapshot === undefined) return undefined
    const pool = await this.#pool(call)
    await using image = await pool.open(imageName(volume.id), { readOnly: true, snapshot }, call)
    const sizeBytes = image.sizeBytes()
    const gap = Math.max(gapBytes, Math.ceil(sizeBytes / mostExtents))
    const changed: { offset: number; length: number }[] = []
    for (let offset = 0; offset < sizeBytes; offset += windowBytes) {
      const range = { offset, length: Math.min(windowBytes, sizeBytes - offset) }
      for (const extent of await image.extents(range, { since, granularity: 'exact' }, call)) {
        if (extent.state === 'hole') continue
        const last = changed.at(-1)
        const end = extent.offset + extent.length
        if (last !== undefined && extent.offset - (last.offset + last.length) < gap) {
          last.length = end - last.offset
        } else changed.push({ offset: extent.offset, length: extent.length })
      }
    }
    return changed
  }

  async remove(volume: BackendVolume, id: string, call: Call): Promise<void> {
    await this.#removeThose(volume, (name) => name.startsWith(momentPrefix(id)), call)
  }

  async keepOnly(volume: BackendVolume, id: string, call: Call): Promise<void> {
    await this.#removeThose(volume, (name) => isMoment(name) && !name.startsWith(momentPrefix(id)), call)
  }

  async #removeThose(volume: BackendVolume, isMeant: (name: string) => boolean, call: Call): Promise<void> {
    const remove = async (image: RbdImage) => {
      for (const { name } of await image.snapshots(call)) {
        if (isMeant(name)) await image.removeSnapshot(name, call)
      }
    }
    try {
      await this.#withImage(volume, remove, call)
    } catch (error) {
      if (!(error instanceof NotFound)) throw error
    }
  }

  async #withImage<Result>(
    volume: BackendVolume,
    body: (image: RbdImage) => Promise<Result>,
    call: Call,
  ): Promise<Result> {
    const pool = await this.#pool(call)
    return await pool.withImage(imageName(volume.id), { readOnly: false }, body, call)
  }
}

async function nameOf(image: RbdImage, id: string, call: Call): Promise<string | undefined> {
  return (await image.snapshots(call)).find(({ name }) => name.startsWith(momentPrefix(id)))?.name
}
