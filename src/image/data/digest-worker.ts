import { createHash, type Hash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'

/** What the pool sends: begin, hash a slot of the ring, finish or forget one digest. */
export type DigestRequest =
  | {
      readonly type: 'begin'
      readonly run: number
      readonly algorithm: string
      readonly ring: SharedArrayBuffer
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

export type DigestReply =
  | { readonly type: 'slot'; readonly run: number; readonly slot: number }
  | { readonly type: 'digest'; readonly run: number; readonly hex: string }

/** One thread hashes for several uploads at once, each with a state of its own. */
const runs = new Map<number, { hash: Hash; ring: Uint8Array }>()
const port = parentPort
if (port === null) throw new Error('digest-worker.ts runs as a worker thread')

port.on('message', (request: DigestRequest) => {
  if (request.type === 'begin') {
    runs.set(request.run, { hash: createHash(request.algorithm), ring: new Uint8Array(request.ring) })
    return
  }
  const run = runs.get(request.run)
  if (run === undefined) return
  if (request.type === 'update') {
    run.hash.update(run.ring.subarray(request.offset, request.offset + request.length))
    port.postMessage({ type: 'slot', run: request.run, slot: request.slot } satisfies DigestReply)
    return
  }
  runs.delete(request.run)
  if (request.type === 'finish') {
    const hex = run.hash.digest('hex')
    port.postMessage({ type: 'digest', run: request.run, hex } satisfies DigestReply)
  }
})
