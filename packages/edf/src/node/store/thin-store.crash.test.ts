import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Content, Expectations, verify } from './crash-expectations.ts'
import type { CrashLine } from './crash-load.ts'
import { BLOCK_BYTES } from './map-page.ts'
import { ThinStore } from './thin-store.ts'

/** Kills: more of them with EMBERGLASS_CRASHES=500 or so. */
const CRASHES = Number(process.env['EMBERGLASS_CRASHES'] ?? 8)

async function crash(directory: string, firstVersion: number, seed: number): Promise<CrashLine[]> {
  const worker = join(import.meta.dirname, 'crash-worker.ts')
  const argv = ['--conditions=source', worker, directory, String(firstVersion), String(seed)]
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] })
  const exit = once(child, 'exit')
  const output = text(child.stdout)
  const complaints = text(child.stderr)
  // The first line says that it is up; after that any moment is as good as another.
  await Promise.race([once(child.stdout, 'data'), exit])
  await sleep((seed * 37) % 400)
  child.kill('SIGKILL')
  const [, signal] = await exit
  assert.equal(signal, 'SIGKILL', `the worker ended by itself: ${await complaints}`)
  const lines = (await output).split('\n')
  // The line that the kill may have cut is missing its end.
  lines.pop()
  return lines.map((line) => JSON.parse(line))
}

test('a process killed at any moment loses nothing that was acknowledged, and mixes nothing', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'thin-store-'))
  let flushes = 0
  let merges = 0
  try {
    let contents = new Map<string, Content>()
    for (let round = 1; round <= CRASHES; round++) {
      const seed = Number(process.env['EMBERGLASS_SEED'] ?? 1) * 1009 + round
      const lines = await crash(directory, round * 1_000_000, seed)
      const expected = new Expectations(contents, 'acknowledged')
      for (const line of lines) expected.apply(line)
      flushes += lines.filter(({ at }) => at === 'flushed').length
      merges += lines.filter(({ at }) => at === 'deleted').length
      await using store = await ThinStore.open({ directory })
      contents = await verify(store, expected)
      // Half of the time the next process finds the merges unfinished.
      if (round % 2 === 0) await store.settled()
      const report = await store.check({ data: true })
      assert.deepEqual(report.errors, [])
      if (round % 2 === 0) {
        assert.deepEqual(
          report.warnings.filter((warning) => !warning.includes('torn')),
          [],
        )
        assert.equal(store.usage().usedBytes, report.blocks * BLOCK_BYTES)
      }
    }
    await using store = await ThinStore.open({ directory })
    for (const { id } of store.list()) await store.delete(id)
    await store.settled()
    assert.deepEqual([(await store.check()).layers, store.usage().usedBytes], [0, 0])
  } finally {
    await rm(directory, { recursive: true })
  }
  assert.ok(
    flushes > CRASHES && merges > 0,
    `${flushes} flushes and ${merges} deletes are too few to say anything`,
  )
})
