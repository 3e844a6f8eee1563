import type { Bytes } from '../../kernel/bytes.ts'

/** Chunks that a branch may be behind before the others wait for it. */
const depth = 4

/** One consumer's share. */
export interface FanBranch {
  readonly bytes: Bytes
  /** The consumer takes nothing more; the others do not wait for it. Leaving the loop does the same. */
  leave(): Promise<void>
}

interface Branch {
  readonly queue: Uint8Array[]
  live: boolean
}

/**
 * Gives one stream to several consumers: the source is read once, as fast as the slowest of them. Each branch has
 * chunks of its own, so a consumer may keep them, and give their memory back. A consumer that leaves is not
 * waited for any more; when all have left, the source is closed.
 * @param source its chunks need to be valid only until the next one is pulled
 * @returns one branch for each consumer; what the source throws comes out of every branch
 */
export function fanOut(source: Bytes, count: number): readonly FanBranch[] {
  const iterator = source[Symbol.asyncIterator]()
  const branches: readonly Branch[] = Array.from({ length: count }, () => ({ queue: [], live: true }))
  let end: { readonly error?: unknown } | undefined
  let pulling: Promise<void> | undefined
  const waiting: (() => void)[] = []

  const wakeAll = () => {
    for (const wake of waiting.splice(0)) wake()
  }
  const pull = async () => {
    try {
      const result = await iterator.next()
      if (result.done === true) end = {}
      else {
        for (const branch of branches) {
          if (branch.live) branch.queue.push(new Uint8Array(result.value)) // a copy of its own
        }
      }
    } catch (error) {
      end = { error }
    } finally {
      pulling = undefined
      wakeAll()
    }
  }
  const changed = () =>
    new Promise<void>((resolve) => {
      waiting.push(resolve)
    })

  async function* branchBytes(branch: Branch): Bytes {
    try {
      for (;;) {
        const chunk = branch.queue.shift()
        if (chunk !== undefined) {
          wakeAll()
          yield chunk
          continue
        }
        if (end !== undefined) {
          if ('error' in end) throw end.error
          return
        }
        const isFull = branches.some((other) => other.live && other.queue.length >= depth)
        if (pulling === undefined && !isFull) pulling = pull()
        await (pulling ?? changed())
      }
    } finally {
      await leave(branch)
    }
  }
  async function leave(branch: Branch): Promise<void> {
    if (!branch.live) return
    branch.live = false
    branch.queue.length = 0
    wakeAll()
    if (branches.some((other) => other.live)) return
    await pulling
    await iterator.return?.()
  }
  return branches.map((branch) => ({ bytes: branchBytes(branch), leave: () => leave(branch) }))
}
