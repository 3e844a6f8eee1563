// A thread that hashes. It is plain JavaScript so that the thread needs no TypeScript compiler of its own.
import { createHash } from 'node:crypto'
import { parentPort } from 'node:worker_threads'

/** @import { HashReply, HashRequest } from './hash-threads.ts' */

if (parentPort === null) throw new Error('hash-worker.mjs runs as a worker thread')
const port = parentPort

/**
 * @typedef {object} State
 * @property {string} algorithm
 * @property {number} blockBytes
 * @property {import('node:crypto').Hash} hash
 * @property {number} filled bytes of the block that is being hashed
 * @property {Buffer[]} digests
 */

/** @type {Map<number, State[]>} */
const runs = new Map()

/** @param {State} state @param {Uint8Array} piece */
function update(state, piece) {
  let at = 0
  while (at < piece.byteLength) {
    const part = piece.subarray(at, at + state.blockBytes - state.filled)
    state.hash.update(part)
    state.filled += part.byteLength
    at += part.byteLength
    if (state.filled === state.blockBytes) endBlock(state)
  }
}

/** @param {State} state */
function endBlock(state) {
  state.digests.push(state.hash.digest())
  state.hash = createHash(state.algorithm)
  state.filled = 0
}

port.on('message', (/** @type {HashRequest} */ request) => {
  if (request.type === 'begin') {
    const begun = request.plans.map(({ algorithm, blockBytes }) => {
      return { algorithm, blockBytes, hash: createHash(algorithm), filled: 0, digests: [] }
    })
    runs.set(request.run, begun)
    return
  }
  const run = runs.get(request.run)
  if (run === undefined) return
  if (request.type === 'update') {
    for (const state of run) update(state, request.piece)
    /** @type {HashReply} */
    const reply = { type: 'piece', run: request.run, piece: request.piece }
    port.postMessage(reply, [request.piece.buffer])
    return
  }
  runs.delete(request.run)
  if (request.type === 'forget') return
  for (const state of run) if (state.filled > 0 || state.digests.length === 0) endBlock(state)
  const digests = run.map((state) => Buffer.concat(state.digests))
  /** @type {HashReply} */
  const reply = { type: 'digests', run: request.run, digests }
  port.postMessage(reply)
})
