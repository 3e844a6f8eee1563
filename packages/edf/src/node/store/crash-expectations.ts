import assert from 'node:assert/strict'
import { readBytes } from '@emberglass/iscsi/device'
import type { CrashLine } from './crash-load.ts'
import { readStamp, SECTOR_BYTES, STRETCHES } from './crash-stamp.ts'
import type { ThinStore } from './thin-store.ts'

const CALL = { signal: new AbortController().signal }

/** `volume:version` of each stamped sector; sectors of zeroes are missing. */
export type Content = Map<number, string>

/** What an entry may hold after the crash. */
interface Expectation {
  /** What it held for certain when it was last made durable; several when a revert was under way. */
  bases: Content[]
  /** What was written since, in order. */
  since: { sector: number; count: number; value: string | 'zero'; version: number }[]
  /** Whether it has to exist; undefined: it may. */
  exists: boolean | undefined
}

/** What has to outlive a crash: what was flushed, when the power failed; all that was acknowledged, after a kill. */
export type Promised = 'flushed' | 'acknowledged'

/** Follows the log of a load: what a store has to hold after a crash, and what it may. */
export class Expectations {
  readonly #promised: Promised
  readonly entries = new Map<string, Expectation>()

  constructor(contents: ReadonlyMap<string, Content>, promised: Promised) {
    this.#promised = promised
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
    } else if (line.at === 'flushed' || line.at === this.#promised) this.#settle(line.id, line.version)
    else if (line.at === 'acknowledged') return
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

/** Reads everything, and compares it with what it may be. @returns what it is */
export async function verify(store: ThinStore, expected: Expectations): Promise<Map<string, Content>> {
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
