import { availableParallelism } from 'node:os'
import { Worker } from 'node:worker_threads'
import type { Bytes } from '../../../kernel/bytes.ts'
import { BackendError } from '../../../kernel/errors.ts'

/** A digest for each so many bytes, and for the rest; `Infinity`: one for all. */
export interface HashPlan {
  readonly algorithm: 'md5' | 'sha256'
  readonly blockBytes: number
}

/** A hash of a stream, and who is told the digests, one behind the other, when the stream has ended. */
export interface StreamHash extends HashPlan {
  readonly onDigests: (digests: Uint8Array) => void
}

/** @param onHex told the stream's MD5 */
export function wholeMd5(onHex: (hex: string) => void): StreamHash {
  const onDigests = (digest: Uint8Array) => onHex(Buffer.from(digest).toString('hex'))
  return { algorithm: 'md5', blockBytes: Number.POSITIVE_INFINITY, onDigests }
}

export function sha256ByBlock(blockBytes: number, onDigests: StreamHash['onDigests']): StreamHash {
  return { algorithm: 'sha256', blockBytes, onDigests }
}

/** What a thread is told. Pieces travel with their memory, and come back. */
export type HashRequest =
  | { readonly type: 'begin'; readonly run: number; readonly plans: readonly HashPlan[] }
  | { readonly type: 'update'; readonly run: number; readonly piece: Uint8Array<ArrayBuffer> }
  | { readonly type: 'finish'; readonly run: number }
  | { readonly type: 'forget'; readonly run: number }

/** What a thread answers. */
export type HashReply =
  | { readonly type: 'piece'; readonly run: number; readonly piece: Uint8Array }
  /** Of each plan. */
  | { readonly type: 'digests'; readonly run: number; readonly digests: readonly Uint8Array[] }

/** Pieces that one stream has under way in a thread. */
const depth = 3
/** After so many milliseconds without work the threads are let go. */
const idleMs = 10_000

/**
 * Hashes streams on worker threads, each stream's digests in order. The bytes are not copied: a piece changes hands.
 * Threads are started when needed, shared by all, and never keep the process alive on their own.
 */
class HashThreads {
  readonly #threads: HashThread[] = []
  #idle: NodeJS.Timeout | undefined

  /**
   * Passes a stream through hashes, in one thread: each piece changes hands twice, however many they are.
   * @param source every piece has memory of its own, which is given away
   */
  async *hashed(source: Bytes, ...hashes: readonly StreamHash[]): Bytes {
    clearTimeout(this.#idle)
    const run = new HashRun(
      this.#leastBusy(),
      hashes.map(({ algorithm, blockBytes }) => ({ algorithm, blockBytes })),
    )
    try {
      const pending: Promise<Uint8Array>[] = []
      for await (const piece of source) {
        const hashed = run.update(piece)
        hashed.catch(() => {}) // it is awaited below, unless the loop is left first
        pending.push(hashed)
        if (pending.length >= depth) yield await (pending.shift() as Promise<Uint8Array>) // just pushed
      }
      for (const rest of pending) yield await rest
      const digests = await run.finish()
      for (const [index, { onDigests }] of hashes.entries()) onDigests(digests[index] ?? new Uint8Array(0))
    } finally {
      run.end()
      if (this.#threads.every(({ load }) => load === 0)) {
        clearTimeout(this.#idle)
        this.#idle = setTimeout(() => void this.#letGo(), idleMs).unref()
      }
    }
  }

  #leastBusy(): HashThread {
    const alive = this.#threads.filter((thread) => !thread.failed)
    const idle = alive.find(({ load }) => load === 0)
    if (idle !== undefined) return idle
    if (alive.length < Math.min(8, Math.max(2, availableParallelism()))) {
      const thread = new HashThread()
      this.#threads.splice(0, this.#threads.length, ...alive, thread)
      return thread
    }
    return alive.reduce((best, thread) => (thread.load < best.load ? thread : best))
  }

  async #letGo(): Promise<void> {
    await Promise.all(this.#threads.splice(0).map((thread) => thread.stop()))
  }
}

/** The threads of this process: more than it has cores would help nobody. */
export const hashThreads = new HashThreads()

let nextRun = 1

/** One stream's hash in its thread. */
class HashRun {
  readonly #id = nextRun++
  readonly #thread: HashThread
  readonly #pieces: PromiseWithResolvers<Uint8Array>[] = []
  #digests: PromiseWithResolvers<readonly Uint8Array[]> | undefined
  #failure: Error | undefined

  constructor(thread: HashThread, plans: readonly HashPlan[]) {
    this.#thread = thread
    thread.listen(this.#id, (answer) => this.#onAnswer(answer))
    thread.send({ type: 'begin', run: this.#id, plans })
  }

  update(piece: Uint8Array): Promise<Uint8Array> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    // our sources make their pieces of plain memory, not of shared memory
    const own = piece as Uint8Array<ArrayBuffer>
    const back = Promise.withResolvers<Uint8Array>()
    this.#pieces.push(back)
    this.#thread.send({ type: 'update', run: this.#id, piece: own }, [own.buffer])
    return back.promise
  }

  finish(): Promise<readonly Uint8Array[]> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    this.#digests = Promise.withResolvers()
    this.#thread.send({ type: 'finish', run: this.#id })
    return this.#digests.promise
  }

  end(): void {
    this.#thread.ignore(this.#id)
    if (!this.#thread.failed) this.#thread.send({ type: 'forget', run: this.#id })
  }

  #onAnswer(answer: HashReply | Error): void {
    if (answer instanceof Error) {
      this.#failure = answer
      for (const waiting of this.#pieces.splice(0)) waiting.reject(answer)
      this.#digests?.reject(answer)
    } else if (answer.type === 'piece') this.#pieces.shift()?.resolve(answer.piece)
    else this.#digests?.resolve(answer.digests)
  }
}

class HashThread {
  readonly #worker: Worker
  readonly #listeners = new Map<number, (answer: HashReply | Error) => void>()
  failed = false

  constructor() {
    this.#worker = new Worker(new URL('./hash-worker.mjs', import.meta.url), {
      name: 'backup digests',
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 8 },
    })
    this.#worker.on('message', (reply: HashReply) => this.#listeners.get(reply.run)?.(reply))
    this.#worker.on('error', (cause) => this.#fail(cause))
    this.#worker.on('exit', () => this.#fail(new Error('the thread ended')))
    this.#worker.unref()
  }

  /** Streams that it hashes. */
  get load(): number {
    return this.#listeners.size
  }

  listen(run: number, listener: (answer: HashReply | Error) => void): void {
    this.#listeners.set(run, listener)
    this.#worker.ref()
  }

  ignore(run: number): void {
    this.#listeners.delete(run)
    if (this.#listeners.size === 0) this.#worker.unref()
  }

  send(request: HashRequest, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(request, transfer)
  }

  async stop(): Promise<void> {
    await this.#worker.terminate()
  }

  #fail(cause: unknown): void {
    this.failed = true
    const error = new BackendError('The digests of a backup could not be computed.', {
      left: 'nothing',
      cause,
    })
    for (const listener of [...this.#listeners.values()]) listener(error)
  }
}
