// A thread of the digest pool. It is plain JavaScript so that the thread needs no TypeScript compiler of its own:
// that would be half of the memory and of the time it takes to start.
import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'

/** @import { DigestReply, DigestRequest } from './digest-pool.ts' */

if (parentPort === null) throw new Error('digest-worker.mjs runs as a worker thread')
const port = parentPort

/**
 * One thread hashes for several uploads at once, each with a state of its own.
 * @type {Map<number, { hash: import('node:crypto').Hash, ring: Uint8Array, readers: Int32Array }>}
 */
const runs = new Map()

/** @param {DigestReply} reply */
const answer = (reply) => port.postMessage(reply)

port.on('message', (/** @type {DigestRequest} */ request) => {
  if (request.type === 'begin') {
    const { ring, readersOffset } = request
    runs.set(request.run, {
      hash: createHash(request.algorithm),
      ring: new Uint8Array(ring, 0, readersOffset),
      readers: new Int32Array(ring, readersOffset),
    })
    return
  }
  const run = runs.get(request.run)
  if (run === undefined) return
  if (request.type === 'update') {
    run.hash.update(run.ring.subarray(request.offset, request.offset + request.length))
    // told through memory: the event loop on the other side has better things to do than to read messages
    if (Atomics.sub(run.readers, request.slot, 1) === 1) Atomics.notify(run.readers, request.slot)
    return
  }
  runs.delete(request.run)
  if (request.type === 'finish') answer({ type: 'digest', run: request.run, hex: run.hash.digest('hex') })
})
