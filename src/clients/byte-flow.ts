import type { Bytes } from '../kernel/bytes.ts'
import { BackendError } from '../kernel/errors.ts'

/** Who is given the bytes of a flow, in their order. */
export interface FlowReceiver {
  /**
   * Called again only when it has returned true: the memory of the chunk is then free. After false it is needed
   * until `ByteFlow.resume`.
   */
  take(chunk: Uint8Array): boolean
  /** There is no more, though more was wanted: why. Called once at most, never from inside `take`. */
  ended(error: unknown): void
}

/** Bytes that are pushed: what a reader of many gigabytes spends no promise per chunk on. */
export interface ByteFlow {
  /** What the receiver had of the last chunk is dealt with: go on. */
  resume(): void
  /** Ends it; the receiver hears nothing more. */
  close(): void
}

/** Begins a flow; never calls the receiver before it returns. */
export type OpenFlow = (receiver: FlowReceiver, signal: AbortSignal) => ByteFlow

/** Chunks below this are too small to be worth releasing one by one. */
const releasedBytes = 16 * 1024

/** The data, or the answer, broke off: worth another try. */
export function endedTooEarly(cause?: unknown): BackendError {
  const why = { left: 'nothing', retryAfterMs: 1_000 } as const
  return new BackendError('The image data ended too early.', cause === undefined ? why : { ...why, cause })
}

/** A stream as a flow. Its chunks belong to the flow, which gives their memory back. */
export function flowOfBytes(source: Bytes, receiver: FlowReceiver): ByteFlow {
  let closed = false
  let wake: (() => void) | undefined
  const iterator = source[Symbol.asyncIterator]()
  const run = async (): Promise<void> => {
    for (;;) {
      const { done, value } = await iterator.next()
      if (closed) return
      if (done === true) throw endedTooEarly()
      if (!receiver.take(value)) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
        if (closed) return
      }
      release(value)
    }
  }
  run().catch((error: unknown) => {
    if (!closed) receiver.ended(error)
  })
  return {
    resume: () => wake?.(),
    close() {
      closed = true
      wake?.()
      iterator.return?.()?.catch(() => {}) // the stream is of no interest any more
    },
  }
}

/**
 * Gives the memory of a chunk back at once: the collector, which sees how much memory hangs on chunks, would be
 * called for every few of them. A chunk is ours, unless it shares its memory with others.
 */
function release({ buffer, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength && byteLength >= releasedBytes) {
    buffer.transfer(0)
  }
}
