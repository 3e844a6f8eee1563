import type { RbdPool } from '../../../ceph/pool.ts'
import type { Call } from '../../../kernel/call.ts'
import { NotFound } from '../../../kernel/errors.ts'
import type { Adopted, BackendVolume, Migration } from '../../volume-driver.ts'
import { displacedName, imageName, volumeNote } from './naming.ts'

/**
 * Exchanges names after a migration: three renames, each of which may be the last before a crash. The note of the
 * image with the new bytes says which volume it is becoming, and so which renames are done.
 */
export class RbdMigration implements Migration {
  readonly #pool: (call: Call) => Promise<RbdPool>

  constructor(pool: (call: Call) => Promise<RbdPool>) {
    this.#pool = pool
  }

  async adopt(volume: BackendVolume, copy: BackendVolume, call: Call): Promise<Adopted> {
    const pool = await this.#pool(call)
    const [volumeName, copyName, displaced] = [
      imageName(volume.id),
      imageName(copy.id),
      displacedName(copy.id),
    ]
    const noteOf = (name: string) => readNote(pool, name, call)
    const markAs = (id: string, name: string) =>
      pool.withImage(name, { readOnly: false }, (image) => image.setNote(volumeNote, id, call), call)

    const copyNote = await noteOf(copyName)
    const displacedNote = await noteOf(displaced)
    const isTheCopy = copyNote !== undefined && copyNote !== 'displaced'
    if (isTheCopy) {
      await markAs(volume.id, copyName)
      if (displacedNote === undefined && (await noteOf(volumeName)) !== undefined) {
        await markAs('displaced', volumeName)
        await pool.rename(volumeName, displaced, call)
      }
      await pool.rename(copyName, volumeName, call)
    } else if ((await noteOf(volumeName)) === undefined) {
      throw new NotFound(`Image ${pool.name}/${copyName} is gone.`)
    }
    if ((await noteOf(displaced)) !== undefined) await pool.rename(displaced, copyName, call)
    const oldIsHere = await pool.exists(copyName, call)
    return {
      volume: { providerLocation: undefined },
      old: oldIsHere ? { providerLocation: undefined } : undefined,
    }
  }
}

/** What an image says it is; empty for one that says nothing, undefined when there is no such image. */
async function readNote(pool: RbdPool, name: string, call: Call): Promise<string | undefined> {
  try {
    const read = async (image: { note(key: string, call: Call): Promise<string | undefined> }) =>
      (await image.note(volumeNote, call)) ?? ''
    return await pool.withImage(name, { readOnly: true }, read, call)
  } catch (error) {
    if (error instanceof NotFound) return undefined
    throw error
  }
}
