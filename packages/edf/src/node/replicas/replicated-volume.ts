import { type BlockDevice, type Cancel, checkRange, type Done, type Extent } from '@emberglass/iscsi/device'
import { Claims } from '../store/claims.ts'
import { BadBlockError, NoSpaceError, ReadOnlyError, ThinStoreError } from '../store/errors.ts'
import { Gate } from '../store/gate.ts'
import { BLOCK_BYTES } from '../store/map-page.ts'
import type { ThinVolume } from '../store/thin-volume.ts'
import { blocksOf } from '../store/top-writer.ts'

const NEVER: Cancel = { signal: new AbortController().signal }

/** No copy of a volume is there. */
export class NoCopyError extends ThinStoreError {
  readonly code = 'no-copy'
}

/** One copy of an open volume. */
export interface Copy {
  readonly medium: string
  readonly volume: ThinVolume
}

/** What a replicated volume tells its store. */
export interface ReplicatedVolumeHost {
  /** A copy has missed something. Notes it durably, before the caller is told that the operation is done. */
  lost(id: string, copy: Copy, error: unknown): void
  /** A block of a copy was not what was written there. */
  damaged(id: string, offset: number, medium: string, repaired: boolean): void
  /** One user has left. */
  leave(volume: ReplicatedVolume): Promise<void>
}

/**
 * An open volume, or a snapshot, as all of its copies together. A write is done when all copies have it; a copy that
 * fails is left behind, and the others go on. Reads come from the first copy, and from another when that fails; a
 * damaged block is put right on the way. Copies that are being built (`mirrors`) get every write, and are not read.
 */
export class ReplicatedVolume implements BlockDevice {
  readonly blockSize = 512
  readonly id: string
  readonly #host: ReplicatedVolumeHost
  readonly #gate = new Gate()
  readonly #claims = new Claims()
  #copies: readonly Copy[]
  #mirrors: readonly Copy[] = []
  #sizeBytes: number
  #closed: ThinStoreError | undefined
  /** How many hold this volume; the store's to change. */
  users = 0

  /** @param copies those to read from first */
  constructor(id: string, copies: readonly Copy[], host: ReplicatedVolumeHost) {
    this.id = id
    this.#copies = copies
    this.#host = host
    this.#sizeBytes = copies[0]?.volume.sizeBytes ?? 0
    this.#markWrites()
  }

  get sizeBytes(): number {
    this.#sizeBytes = this.#copies[0]?.volume.sizeBytes ?? this.#sizeBytes
    return this.#sizeBytes
  }

  get readOnly(): boolean {
    return this.#copies[0]?.volume.readOnly ?? true
  }

  /** The copies that are read and written. */
  get copies(): readonly Copy[] {
    return this.#copies
  }

  read(offset: number, into: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    if (!this.#gate.open) return this.#gate.whenOpen().then(() => this.read(offset, into, cancel))
    return this.readInside(offset, into, cancel)
  }

  /** As `read`, for those who are inside `claiming` or `exclusive` already. */
  readInside(offset: number, into: Uint8Array, cancel: Cancel): Done {
    const copy = this.#first()
    let done: Done
    try {
      done = copy.volume.read(offset, into, cancel)
    } catch (error) {
      return this.#readElsewhere(error, copy, offset, into, cancel)
    }
    return done?.catch((error: unknown) => this.#readElsewhere(error, copy, offset, into, cancel))
  }

  write(offset: number, data: Uint8Array, cancel: Cancel): Done {
    cancel.signal.throwIfAborted()
    if (!this.#gate.open) return this.#gate.whenOpen().then(() => this.write(offset, data, cancel))
    const first = this.#first()
    if (this.#alone) return first.volume.write(offset, data, cancel)
    checkRange(this, offset, data.byteLength)
    if (this.readOnly) throw new ReadOnlyError(`${this.id} is a snapshot`)
    if (data.byteLength === 0) return undefined
    const range = blocksOf(offset, data.byteLength)
    const wait = this.#claims.on(range.first, range.last)
    if (wait !== undefined) return wait.then(() => this.write(offset, data, cancel))
    // An abort between two copies would leave them different.
    return this.#everywhere(range, ({ volume }) => volume.write(offset, data, NEVER))
  }

  async flush(cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
    await this.#gate.shared(async () => {
      this.#first()
      await this.#settle(await this.#all(({ volume }) => volume.flush(NEVER)))
    })
  }

  async unmap(offset: number, length: number, cancel: Cancel): Promise<void> {
    cancel.signal.throwIfAborted()
    checkRange(this, offset, length)
    if (length === 0) return
    const { first, last } = blocksOf(offset, length)
    await this.#gate.shared(async () => {
      if (this.#alone) return await this.#first().volume.unmap(offset, length, cancel)
      await this.#claims.free(first, last)
      await this.#everywhere({ first, last }, ({ volume }) => volume.unmap(offset, length, NEVER))
    })
  }

  async writeZeroes(offset: number, length: number, cancel: Cancel): Promise<void> {
    await this.unmap(offset, length, cancel)
  }

  async extents(offset: number, length: number, cancel: Cancel): Promise<readonly Extent[]> {
    for (;;) {
      const copy = this.#first()
      try {
        return await copy.volume.extents(offset, length, cancel)
      } catch (error) {
        if (cancel.signal.aborted || error instanceof RangeError || this.#copies.length < 2) throw error
        this.lose(copy, error)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host.leave(this)
  }

  // What follows is for the store and its rebuilds.

  /** Runs `operation` while no other is under way; new ones wait. It must be short. */
  async exclusive<Result>(operation: () => Result | Promise<Result>): Promise<Result> {
    return await this.#gate.exclusive(operation)
  }

  /** Runs `operation` while nobody changes these bytes. */
  async claiming(offset: number, length: number, operation: () => Promise<void>): Promise<void> {
    const { first, last } = blocksOf(offset, length)
    await this.#gate.shared(async () => {
      await this.#claims.free(first, last)
      const release = this.#claims.take(first, last)
      try {
        await operation()
      } finally {
        release()
      }
    })
  }

  /** Puts a damaged block of one copy right, if another has it. @param offset where the block begins */
  async mend(medium: string, offset: number): Promise<void> {
    const copy = this.#copies.find((other) => other.medium === medium)
    if (copy === undefined) return
    try {
      const length = Math.min(BLOCK_BYTES, this.sizeBytes - offset)
      await copy.volume.read(offset, new Uint8Array(length), NEVER)
    } catch (error) {
      if (!(error instanceof BadBlockError)) throw error
      if (!(await this.#repairFromAny(offset, copy))) this.#host.damaged(this.id, offset, medium, false)
    }
  }

  /** From now on a copy gets every write. */
  async mirror(copy: Copy): Promise<void> {
    await this.exclusive(() => {
      this.#mirrors = [...this.#mirrors, copy]
      this.#markWrites()
    })
  }

  /** Whether a copy still gets every write. */
  mirrors(copy: Copy): boolean {
    return this.#mirrors.includes(copy)
  }

  /** A mirror that has everything becomes a copy; `commit` notes it. Inside `exclusive`. */
  promote(copy: Copy, commit: () => void): void {
    if (!this.mirrors(copy))
      throw new NoCopyError(`the copy of ${this.id} on ${copy.medium} has missed something`)
    commit()
    this.#mirrors = this.#mirrors.filter((mirror) => mirror !== copy)
    this.#copies = [...this.#copies, copy]
  }

  /** Takes in copies when none was left. */
  revive(copies: readonly Copy[]): void {
    this.#copies = copies
    this.#markWrites()
  }

  /** Leaves copies behind that are no longer wanted. @returns those it had */
  drop(isUnwanted: (copy: Copy) => boolean): Copy[] {
    const dropped = [...this.#copies, ...this.#mirrors].filter(isUnwanted)
    this.#copies = this.#copies.filter((copy) => !dropped.includes(copy))
    this.#mirrors = this.#mirrors.filter((copy) => !dropped.includes(copy))
    return dropped
  }

  /** Goes on without a copy that has failed. */
  lose(copy: Copy, error: unknown): void {
    const wasCopy = this.#copies.includes(copy)
    if (this.drop((other) => other === copy).length === 0) return
    if (wasCopy) this.#host.lost(this.id, copy, error)
    void copy.volume[Symbol.asyncDispose]().catch(() => undefined)
  }

  /** Every later operation throws `reason`. @returns the copies, which are the caller's to close */
  close(reason: ThinStoreError): Copy[] {
    this.#closed ??= reason
    return this.drop(() => true)
  }

  get #alone(): boolean {
    return this.#copies.length === 1 && this.#mirrors.length === 0
  }

  #first(): Copy {
    if (this.#closed !== undefined) throw this.#closed
    const [copy] = this.#copies
    if (copy === undefined) throw new NoCopyError(`no copy of ${this.id} can be reached`)
    return copy
  }

  #markWrites(): void {
    if (this.#alone || this.readOnly) return
    for (const { volume } of [...this.#copies, ...this.#mirrors]) volume.markWrites()
  }

  /** Does the same on all copies, whose blocks others leave alone meanwhile. */
  #everywhere(range: { first: number; last: number }, operation: (copy: Copy) => Done): Done {
    const copies = [...this.#copies, ...this.#mirrors]
    const pending: Promise<void>[] = []
    const failures = new Map<Copy, unknown>()
    for (const copy of copies) {
      try {
        const done = operation(copy)
        if (done === undefined) continue
        pending.push(
          done.catch((error: unknown) => {
            failures.set(copy, error)
          }),
        )
      } catch (error) {
        failures.set(copy, error)
      }
    }
    if (pending.length === 0 && failures.size === 0) return undefined
    const release = this.#claims.take(range.first, range.last)
    this.#gate.enter()
    return Promise.all(pending)
      .then(() => this.#settle({ copies, failures, range }))
      .finally(() => {
        this.#gate.leave()
        release()
      })
  }

  async #all(operation: (copy: Copy) => Promise<void>): Promise<Outcome> {
    const copies = [...this.#copies, ...this.#mirrors]
    const failures = new Map<Copy, unknown>()
    await Promise.all(
      copies.map((copy) =>
        operation(copy).catch((error: unknown) => {
          failures.set(copy, error)
        }),
      ),
    )
    return { copies, failures }
  }

  /** Goes on without the copies that failed. @throws why, when all did */
  async #settle({ copies, failures, range }: Outcome): Promise<void> {
    if (failures.size === 0) return
    const good = copies.find((copy) => this.#copies.includes(copy) && !failures.has(copy))
    if (good === undefined) {
      const errors = [...failures.values()]
      throw errors.find((error) => error instanceof NoSpaceError) ?? errors[0]
    }
    for (const [copy, error] of failures) {
      const healed =
        error instanceof BadBlockError && range !== undefined && (await this.#heal(copy, good, range))
      if (healed) this.#host.damaged(this.id, error.offset, copy.medium, true)
      else this.lose(copy, error)
    }
  }

  /** Writes whole blocks anew that a copy could not change in part. */
  async #heal(copy: Copy, good: Copy, range: { first: number; last: number }): Promise<boolean> {
    const offset = range.first * BLOCK_BYTES
    const data = new Uint8Array(Math.min((range.last + 1) * BLOCK_BYTES, this.sizeBytes) - offset)
    try {
      await good.volume.read(offset, data, NEVER)
      await copy.volume.write(offset, data, NEVER)
      return true
    } catch {
      return false
    }
  }

  async #readElsewhere(
    error: unknown,
    failed: Copy,
    offset: number,
    into: Uint8Array,
    cancel: Cancel,
  ): Promise<void> {
    if (cancel.signal.aborted || error instanceof RangeError || this.#closed !== undefined) throw error
    for (const copy of this.#copies.filter((other) => other !== failed)) {
      try {
        await copy.volume.read(offset, into, cancel)
      } catch (otherError) {
        cancel.signal.throwIfAborted()
        if (!(otherError instanceof BadBlockError)) this.lose(copy, otherError)
        continue
      }
      if (!(error instanceof BadBlockError)) this.lose(failed, error)
      else await this.#repair(error.offset, failed, copy)
      return
    }
    if (error instanceof BadBlockError) {
      // Several blocks may be bad, each in another copy: one at a time they are put right.
      if (await this.#repairFromAny(error.offset, failed)) return await this.readInside(offset, into, cancel)
      this.#host.damaged(this.id, error.offset, failed.medium, false)
    }
    throw error
  }

  async #repairFromAny(offset: number, failed: Copy): Promise<boolean> {
    for (const copy of this.#copies) {
      if (copy !== failed && (await this.#repair(offset, failed, copy))) return true
    }
    return false
  }

  /** Puts a block of one copy right with that of another. @returns whether the other has it */
  async #repair(offset: number, failed: Copy, good: Copy): Promise<boolean> {
    const block = new Uint8Array(BLOCK_BYTES)
    const length = Math.min(BLOCK_BYTES, this.sizeBytes - offset)
    try {
      await good.volume.read(offset, block.subarray(0, length), NEVER)
    } catch {
      return false
    }
    try {
      const repaired = await failed.volume.repair(offset, block)
      // The copy's checksum says that the two were never the same there.
      if (!repaired && !this.readOnly) this.lose(failed, new BadBlockError(this.id, offset))
      this.#host.damaged(this.id, offset, failed.medium, repaired)
    } catch (error) {
      this.lose(failed, error)
    }
    return true
  }
}

/** What an operation on several copies came to. */
interface Outcome {
  readonly copies: readonly Copy[]
  readonly failures: ReadonlyMap<Copy, unknown>
  /** The blocks it changed; undefined for a flush. */
  readonly range?: { readonly first: number; readonly last: number }
}
