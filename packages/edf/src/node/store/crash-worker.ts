/*
 * The victim of the crash test: uses a store as hard as it can, and says on standard output what it is about to do and
 * what was acknowledged, one JSON line each, until it is killed.
 *
 *   node crash-worker.ts <directory> <first version> <seed>
 */
import { writeSync } from 'node:fs'
import { stress } from './crash-load.ts'
import { ThinStore } from './thin-store.ts'

const [directory = '', firstVersion = '0', seed = '1'] = process.argv.slice(2)
await using store = await ThinStore.open({
  directory,
  inlineWriteBytes: 8192,
  indexBytes: 160 * 1024,
  foldBytes: Number(seed) % 2 === 0 ? 0 : 65536,
})
await stress(store, {
  rounds: Number.POSITIVE_INFINITY,
  firstVersion: Number(firstVersion),
  seed: Number(seed),
  log: (line) => writeSync(1, `${JSON.stringify(line)}\n`),
})
