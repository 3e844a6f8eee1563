import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import { BackendError } from '../../kernel/errors.ts'

/** Bytes of one slot, the unit that is handed to the threads. */
const slotBytes = 1024 * 1024
/** Slots of one ring: how far the threads may be behind. */
const slotCount = 8
/** Bytes of a ring's data; a counter for each slot follows. */
const ringBytes = slotBytes * slotCount
/** Rings kept for the next upload. */
const keptRings = 4

/** What a thread is told: begin, hash a slot of the ring, finish or forget one digest. */
export type DigestRequest =
  | {
      readonly type: 'begin'
      readonly run: number
      readonly algorithm: string
      readonly ring: SharedArrayBuffer
      /** Where in the ring it stands, for each slot, how many threads still read it. */
      readonly readersOffset: number
    }
  | {
      readonly type: 'update'
      readonly run: number
      readonly slot: number
      readonly offset: number
      readonly length: number
    }
  | { readonly type: 'finish'; readonly run: number }
  | { readonly type: 'forget'; readonly run: number }

/** What a thread answers: a digest is ready. That a slot has been hashed it says in the ring itself. */
export interface DigestReply {
  readonly type: 'digest'
  readonly run: number
  readonly hex: string
}

/** The digests of one stream. Call one thing at a time. */
export interface DigestRun extends Disposable {
  /**
   * Hashes a chunk with every algorithm. The chunk is the caller's again when this returns.
   * @returns undefined, or a promise when the threads are behind: wait for it before the next chunk
   * @throws the failure of a thread
   */
  push(chunk: Uint8Array): Promise<void> | undefined
  /** Hexadecimal digests, in the order of the algorithms. */
  finish(): Promise<readonly string[]>
}

/**
 * Computes several digests of a stream beside each other, on worker threads: the event loop copies the bytes
 * into a ring that it shares with them, and hashes nothing. Threads are started when needed, shared by all streams,
 * and never keep the process alive.
 */
export class DigestPool implements AsyncDisposable {
  readonly #size: number
  readonly #idleMs: number
  readonly #threads: Thread[] = []
  readonly #rings: SharedArrayBuffer[] = []
  #nextRun = 1
  #runs = 0
  #idle: NodeJS.Timeout | undefined

  /**
   * @param size threads at most; as many as the machine has cores, but no fewer than 2
   * @param idleMs after so many milliseconds without work the threads are let go, and their memory with them
   */
  constructor(size = Math.min(8, Math.max(2, availableParallelism())), idleMs = 15_000) {
    this.#size = size
    this.#idleMs = idleMs
  }

  /** Threads that exist now. */
  get threadCount(): number {
    return this.#threads.length
  }

  begin(algorithms: readonly string[]): DigestRun {
    clearTimeout(this.#idle)
    this.#runs += 1
    const ring =
      this.#rings.pop() ?? new SharedArrayBuffer(ringBytes + slotCount * Int32Array.BYTES_PER_ELEMENT)
    const parts = algorithms.map((algorithm) => {
      const thread = this.#leastBusy()
      thread.load += 1 // at once: the next algorithm must see that this thread is taken
      return { thread, run: this.#nextRun++, algorithm }
    })
    return new Run(ring, parts, (reusable) => {
      if (reusable && this.#rings.length < keptRings) this.#rings.push(ring)
      this.#runs -= 1
      if (this.#runs === 0) {
        this.#idle = setTimeout(() => void this.#letGo(), this.#idleMs)
        this.#idle.unref()
      }
    })
  }

  #leastBusy(): Thread {
    const alive = this.#threads.filter((thread) => !thread.failed)
    const idle = alive.find((thread) => thread.load === 0)
    if (idle !== undefined) return idle
    if (alive.length < this.#size) {
      const thread = new Thread()
      this.#threads.splice(0, this.#threads.length, ...alive, thread)
      return thread
    }
    return alive.reduce((best, thread) => (thread.load < best.load ? thread : best))
  }

  async #letGo(): Promise<void> {
    this.#rings.length = 0
    await Promise.all(this.#threads.splice(0).map((thread) => thread.stop()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#idle)
    await this.#letGo()
  }
}

interface Listener {
  onReply(reply: DigestReply): void
  onFailure(error: Error): void
}

class Thread {
  readonly #worker: Worker
  readonly #listeners = new Map<number, Listener>()
  /** Digests that it computes. */
  load = 0
  failed = false

  constructor() {
    this.#worker = new Worker(new URL('./digest-worker.mjs', import.meta.url), {
      name: 'digests',
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 8 },
    })
    this.#worker.on('message', (reply: DigestReply) => this.#listeners.get(reply.run)?.onReply(reply))
    this.#worker.on('error', (error) => this.#fail(error instanceof Error ? error : new Error(String(error))))
    this.#worker.on('exit', () => this.#fail(new Error('the thread ended')))
    this.#worker.unref()
  }

  /** While somebody listens, the thread keeps the process alive. */
  listen(run: number, listener: Listener): void {
    this.#listeners.set(run, listener)
    this.#worker.ref()
  }

  ignore(run: number): void {
    this.#listeners.delete(run)
    this.load -= 1
    if (this.#listeners.size === 0) this.#worker.unref()
  }

  send(request: DigestRequest): void {
    this.#worker.postMessage(request)
  }

  async stop(): Promise<void> {
    await this.#worker.terminate()
  }

  #fail(cause: Error): void {
    this.failed = true
    for (const listener of this.#listeners.values()) {
      listener.onFailure(new BackendError('The digests could not be computed.', { left: 'nothing', cause }))
    }
    this.#listeners.clear()
  }
}

interface Part {
  readonly thread: Thread
  readonly run: number
  readonly algorithm: string
}

class Run implements DigestRun {
  readonly #ring: Uint8Array
  /**
   * The next slot's bytes. V8 copies into shared memory word by word, and byte by byte from an address that is not
   * aligned as the target is, as chunks of a socket are not: ten times slower than a slot is gathered here.
   */
  readonly #gathered = new Uint8Array(Buffer.allocUnsafeSlow(slotBytes).buffer)
  readonly #parts: readonly Part[]
  readonly #release: (reusable: boolean) => void
  /** Threads that still read a slot, each in its place; they count down themselves. */
  readonly #readers: Int32Array<SharedArrayBuffer>
  readonly #digests = new Map<number, string>()
  #slot = 0
  #filled = 0
  #failure: Error | undefined
  #wake: (() => void) | undefined
  #released = false

  constructor(ring: SharedArrayBuffer, parts: readonly Part[], release: (reusable: boolean) => void) {
    this.#ring = new Uint8Array(ring, 0, ringBytes)
    this.#readers = new Int32Array(ring, ringBytes)
    this.#parts = parts
    this.#release = release
    for (const { thread, run, algorithm } of parts) {
      thread.listen(run, {
        onReply: (reply) => {
          this.#digests.set(reply.run, reply.hex)
          this.#wake?.()
        },
        onFailure: (error) => this.#fail(error),
      })
      thread.send({ type: 'begin', run, algorithm, ring, readersOffset: ringBytes })
    }
  }

  push(chunk: Uint8Array): Promise<void> | undefined {
    const taken = this.#copy(chunk, 0)
    return taken === chunk.byteLength ? undefined : this.#pushRest(chunk, taken)
  }

  /** Copies as much as fits into free slots. @returns where it stopped */
  #copy(chunk: Uint8Array, from: number): number {
    if (this.#failure !== undefined) throw this.#failure
    let taken = from
    while (taken < chunk.byteLength && this.#readersOf(this.#slot) === 0) {
      const part = chunk.subarray(taken, taken + slotBytes - this.#filled)
      this.#gathered.set(part, this.#filled)
      this.#filled += part.byteLength
      taken += part.byteLength
      if (this.#filled === slotBytes) this.#handOver()
    }
    return taken
  }

  async #pushRest(chunk: Uint8Array, from: number): Promise<void> {
    let taken = from
    while (taken < chunk.byteLength) {
      await this.#slotFree()
      taken = this.#copy(chunk, taken)
    }
  }

  #readersOf(slot: number): number {
    return Atomics.load(this.#readers, slot)
  }

  /** Resolves when no thread reads the current slot any more, or will. */
  async #slotFree(): Promise<void> {
    for (let readers = this.#readersOf(this.#slot); readers > 0; readers = this.#readersOf(this.#slot)) {
      await Atomics.waitAsync(this.#readers, this.#slot, readers).value
    }
  }

  /** Nobody counts down any more: whoever waits for a slot goes on, and finds the failure. */
  #fail(error: Error): void {
    this.#failure = error
    for (let slot = 0; slot < slotCount; slot += 1) {
      Atomics.store(this.#readers, slot, 0)
      Atomics.notify(this.#readers, slot)
    }
    this.#wake?.()
  }

  #handOver(): void {
    this.#ring.set(this.#gathered.subarray(0, this.#filled), this.#slot * slotBytes)
    Atomics.store(this.#readers, this.#slot, this.#parts.length)
    for (const { thread, run } of this.#parts) {
      thread.send({
        type: 'update',
        run,
        slot: this.#slot,
        offset: this.#slot * slotBytes,
        length: this.#filled,
      })
    }
    this.#slot = (this.#slot + 1) % slotCount
    this.#filled = 0
  }

  async finish(): Promise<readonly string[]> {
    if (this.#filled > 0) this.#handOver()
    for (const { thread, run } of this.#parts) thread.send({ type: 'finish', run })
    await this.#until(() => this.#digests.size === this.#parts.length)
    const digests = this.#parts.map(({ run }) => this.#digests.get(run) ?? '')
    this[Symbol.dispose]()
    return digests
  }

  async #until(condition: () => boolean): Promise<void> {
    while (this.#failure === undefined && !condition()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
    this.#wake = undefined
    if (this.#failure !== undefined) throw this.#failure
  }

  [Symbol.dispose](): void {
    if (this.#released) return
    this.#released = true
    const busy = this.#failure !== undefined || this.#readers.some((readers) => readers > 0)
    for (const { thread, run } of this.#parts) {
      thread.ignore(run)
      if (!thread.failed) thread.send({ type: 'forget', run })
    }
    this.#release(!busy) // a ring that threads still read must not serve the next upload
  }
}
