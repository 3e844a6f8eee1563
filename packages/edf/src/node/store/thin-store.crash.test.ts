import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { readBytes } from '@emberglass/iscsi'
import { readStamp, SECTOR_BYTES, STRETCHES } from './crash-stamp.ts'
import type { CrashLine } from './crash-worker.ts'
import { BLOCK_BYTES } from './map-page.ts'
import { ThinStore } from './thin-store.ts'

/** Kills: more of them with EMBERGLASS_CRASHES=500 or so. */
const CRASHES = Number(process.env['EMBERGLASS_CRASHES'] ?? 12)
const CALL = { signal: new AbortController().signal }

/** `volume:version` of each stamped sector; sectors of zeroes are missing. */
type Content = Map<number, string>

/** What an entry may hold after the crash. */
interface Expectation {
  /** What it held for certain when it was last made durable; several when a revert was under way. */
  bases: Content[]
  /** What was written since, in order. */
  since: { sector: number; count: number; value: string | 'zero'; version: number }[]
  /** Whether it has to exist; undefined: it may. */
  exists: boolean | undefined
}

/** Follows the log of a worker. */
class Expectations {
  readonly entries = new Map<string, Expectation>()

  constructor(contents: ReadonlyMap<string, Content>) {
    for (const [id, content] of contents) this.entries.set(id, { bases: [content], since: [], exists: true })
  }

  apply(line: CrashLine): void {
    if (line.at === 'create') this.entries.set(line.id, { bases: [new Map()], since: [], exists: undefined })
    else if (line.at === 'created') this.#entry(line.id).exists = true
    else if (line.at === 'write' || line.at === 'unmap') {
      const value = line.at === 'unmap' ? 'zero' : `${line.id.slice(1)}:${line.version}`
      this.#entry(line.id).since.push({
        sector: line.sector,
        count: line.count,
        value,
        version: line.version,
      })
    } else if (line.at === 'flushed') this.#settle(line.id, line.version)
    else if (line.at === 'snapshot' || line.at === 'clone') {
      const source = this.#entry(line.id)
      this.entries.set(line.other, { bases: [latest(source)], since: [], exists: undefined })
    } else if (line.at === 'snapshot-done' || line.at === 'clone-done') {
      this.#entry(line.other).exists = true
      // An open volume is flushed for it; a closed one was when it was closed.
      this.#settle(line.id, Number.POSITIVE_INFINITY)
    } else if (line.at === 'revert') this.#entry(line.id).bases.push(latest(this.#entry(line.other)))
    else if (line.at === 'revert-done') {
      this.entries.set(line.id, { bases: [latest(this.#entry(line.other))], since: [], exists: true })
    } else if (line.at === 'delete') this.#entry(line.id).exists = undefined
    else this.#entry(line.id).exists = false
  }

  /** What a sector of an entry may hold. */
  allowed(id: string, sector: number): Set<string> {
    const { bases, since } = this.#entry(id)
    const values = new Set(bases.map((base) => base.get(sector) ?? 'zero'))
    for (const change of since) {
      if (change.sector <= sector && sector < change.sector + change.count) values.add(change.value)
    }
    return values
  }

  #entry(id: string): Expectation {
    const entry = this.entries.get(id)
    assert.ok(entry, `${id} came out of nowhere`)
    return entry
  }

  #settle(id: string, version: number): void {
    const entry = this.#entry(id)
    const durable = entry.since.filter((change) => change.version <= version)
    entry.bases = [latest({ ...entry, since: durable })]
    entry.since = entry.since.filter((change) => change.version > version)
  }
}

function latest({ bases, since }: Expectation): Content {
  const content = new Map(bases[0])
  for (const { sector, count, value } of since) {
    for (let at = sector; at < sector + count; at++) {
      if (value === 'zero') content.delete(at)
      else content.set(at, value)
    }
  }
  return content
}

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

/** Reads everything, and compares it with what it may be. @returns what it is */
async function verify(store: ThinStore, expected: Expectations): Promise<Map<string, Content>> {
  const contents = new Map<string, Content>()
  for (const [id, { exists }] of expected.entries) {
    if (exists !== undefined) assert.equal(store.has(id), exists, `${id} exists: ${store.has(id)}`)
  }
  for (const { id } of store.list()) {
    const content: Content = new Map()
    await using volume = await store.open(id)
    for (const { first, count } of STRETCHES) {
      const bytes = await readBytes(volume, first * SECTOR_BYTES, count * SECTOR_BYTES, CALL)
      for (let at = 0; at < count; at++) {
        const sector = first + at
        const found = readStamp(bytes.subarray(at * SECTOR_BYTES, (at + 1) * SECTOR_BYTES))
        assert.ok(found, `sector ${sector} of ${id} is mixed`)
        if (found !== 'zero')
          assert.equal(found.sector, sector, `${id} has another sector in place of ${sector}`)
        const value = found === 'zero' ? 'zero' : `${found.volume}:${found.version}`
        const allowed = expected.allowed(id, sector)
        assert.ok(
          allowed.has(value),
          `sector ${sector} of ${id} is ${value}, not ${[...allowed].join(' or ')}`,
        )
        if (value !== 'zero') content.set(sector, value)
      }
    }
    contents.set(id, content)
  }
  return contents
}

test('a process killed at any moment loses nothing that was flushed, and mixes nothing', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'thin-store-'))
  let flushes = 0
  let merges = 0
  try {
    let contents = new Map<string, Content>()
    for (let round = 1; round <= CRASHES; round++) {
      const seed = Number(process.env['EMBERGLASS_SEED'] ?? 1) * 1009 + round
      const lines = await crash(directory, round * 1_000_000, seed)
      const expected = new Expectations(contents)
      for (const line of lines) expected.apply(line)
      flushes += lines.filter(({ at }) => at === 'flushed').length
      merges += lines.filter(({ at }) => at === 'deleted').length
      await using store = await ThinStore.open({ directory })
      contents = await verify(store, expected)
      // Half of the time the next process finds the merges unfinished.
      if (round % 2 === 0) await store.settled()
      const report = await store.check()
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
