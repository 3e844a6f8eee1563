/** Persistent reservations in a file, for LUNs whose devices have no better place for them. */
import { open, readFile, rename } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { ReservationStore } from '../scsi/persistent-reservations.ts'

export class ReservationFile implements ReservationStore {
  readonly saved: string | undefined
  readonly #path: string

  private constructor(path: string, saved: string | undefined) {
    this.#path = path
    this.saved = saved
  }

  /** @param path need not exist yet; its directory must. @throws the system's error */
  static async open(path: string): Promise<ReservationFile> {
    try {
      return new ReservationFile(path, await readFile(path, 'utf8'))
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT')
        return new ReservationFile(path, undefined)
      throw error
    }
  }

  /** The old state or the new one is there after a crash, never a part. */
  async save(state: string): Promise<void> {
    const next = `${this.#path}.new`
    {
      await using file = await open(next, 'w', 0o600)
      await file.writeFile(state)
      await file.sync()
    }
    await rename(next, this.#path)
    await using directory = await open(dirname(this.#path), 'r')
    await directory.sync()
  }
}
