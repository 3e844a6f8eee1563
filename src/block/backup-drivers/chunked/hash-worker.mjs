// A thread that hashes. It is plain JavaScript so that the thread needs no TypeScript compiler of its own.
import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'

/** @import { HashReply, HashRequest } from './hash-threads.ts' */

if (parentPort === null) throw new Error('hash-worker.mjs runs as a worker thread')
const port = parentPort

/**
 * @typedef {object} Run
 * @property {string} algorithm
 * @property {number} blockBytes
 * @property {import('node:crypto').Hash} hash
 * @property {number} filled bytes of the block that is being hashed
 * @property {Buffer[]} digests
 */

/** @type {Map<number, Run>} */
const runs = new Map()

/** @param {Run} run @param {Uint8Array} piece */
function update(run, piece) {
  let at = 0
  while (at < piece.byteLength) {
    const part = piece.subarray(at, at + run.blockBytes - run.filled)
    run.hash.update(part)
    run.filled += part.byteLength
    at += part.byteLength
    if (run.filled === run.blockBytes) endBlock(run)
  }
}

/** @param {Run} run */
function endBlock(run) {
  run.digests.push(run.hash.digest())
  run.hash = createHash(run.algorithm)
  run.filled = 0
}

port.on('message', (/** @type {HashRequest} */ request) => {
  if (request.type === 'begin') {
    const { algorithm, blockBytes } = request
    runs.set(request.run, { algorithm, blockBytes, hash: createHash(algorithm), filled: 0, digests: [] })
    return
  }
  const run = runs.get(request.run)
  if (run === undefined) return
  if (request.type === 'update') {
    update(run, request.piece)
    /** @type {HashReply} */
    const reply = { type: 'piece', run: request.run, piece: request.piece }
    port.postMessage(reply, [request.piece.buffer])
    return
  }
  runs.delete(request.run)
  if (request.type === 'forget') return
  if (run.filled > 0 || run.digests.length === 0) endBlock(run)
  /** @type {HashReply} */
  const reply = { type: 'digests', run: request.run, digests: Buffer.concat(run.digests) }
  port.postMessage(reply)
})
