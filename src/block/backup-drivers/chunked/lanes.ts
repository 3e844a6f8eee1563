import type { Call } from '../../../kernel/call.ts'

/**
 * Works on items, several at a time, in the order in which they come. On the first failure the others are aborted,
 * and it is thrown when they have ended.
 */
export async function inLanes<Item, AnyCall extends Call>(
  lanes: number,
  items: Iterable<Item>,
  call: AnyCall,
  work: (item: Item, call: AnyCall) => Promise<void>,
): Promise<void> {
  const failed = new AbortController()
  const inner = { ...call, signal: AbortSignal.any([call.signal, failed.signal]) }
  const waiting = items[Symbol.iterator]()
  let failure: { readonly error: unknown } | undefined
  async function lane(): Promise<void> {
    for (;;) {
      inner.signal.throwIfAborted()
      const { value, done } = waiting.next()
      if (done) return
      await work(value, inner)
    }
  }
  const running = Array.from({ length: lanes }, () =>
    lane().catch((error: unknown) => {
      failure ??= { error }
      failed.abort(error)
    }),
  )
  await Promise.all(running)
  if (failure !== undefined) throw failure.error
}
