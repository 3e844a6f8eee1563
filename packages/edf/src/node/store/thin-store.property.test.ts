import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import fc from 'fast-check'
import { BLOCK_BYTES, BLOCKS_PER_PAGE } from './map-page.ts'
import { ThinStore, type ThinStoreOptions } from './thin-store.ts'

/** Runs of the property: more of them with EMBERGLASS_DEEP=1000 or so. */
const RUNS = Number(process.env['EMBERGLASS_DEEP'] ?? 30)
const CALL = { signal: new AbortController().signal }
const PAGE = BLOCKS_PER_PAGE * BLOCK_BYTES
const WINDOW = 48 * 1024
const SECTOR = 512

/** Stretches of a volume that the operations touch: its start, and across the borders of map pages. */
const WINDOWS = [0, PAGE - WINDOW / 2, 2 * PAGE - WINDOW / 2 - 1536]
const SIZE = 2 * PAGE + WINDOW
const GROWN = SIZE + 4 * PAGE + SECTOR
const GROWN_WINDOW = SIZE + 2 * PAGE

interface Model {
  readonly kind: 'volume' | 'snapshot'
  size: number
  windows: Uint8Array[]
}

const range = {
  entry: fc.nat(20),
  window: fc.nat(3),
  start: fc.nat(WINDOW / SECTOR - 1),
  sectors: fc.integer({ min: 1, max: 40 }),
}
const operation = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      do: fc.constant('write' as const),
      ...range,
      fill: fc.integer({ min: 1, max: 255 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unmap' as const), ...range }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('burst' as const),
      ...range,
      fill: fc.integer({ min: 1, max: 200 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('unmap-all' as const), entry: range.entry }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('snapshot' as const), entry: range.entry }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('clone' as const), entry: range.entry }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('revert' as const), entry: range.entry, to: range.entry }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('delete' as const), entry: range.entry }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('resize' as const), entry: range.entry }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('flush' as const), entry: range.entry }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reopen' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('settle' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('verify' as const) }) },
)
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

/** The store under test beside the plainest thing that behaves the same: arrays of bytes. */
class Pair {
  readonly #options: ThinStoreOptions
  readonly #models = new Map<string, Model>()
  #store: ThinStore
  #names = 0

  private constructor(options: ThinStoreOptions, store: ThinStore) {
    this.#options = options
    this.#store = store
  }

  static async open(options: ThinStoreOptions): Promise<Pair> {
    return new Pair(options, await ThinStore.open(options))
  }

  async close(): Promise<void> {
    await this.#store[Symbol.asyncDispose]()
  }

  async run(step: Operation): Promise<void> {
    if (step.do === 'reopen') {
      await this.close()
      this.#store = await ThinStore.open(this.#options)
    } else if (step.do === 'settle') await this.#store.settled()
    else if (step.do === 'verify') await this.verify()
    else if (step.do === 'revert') await this.#revert(step.entry, step.to)
    else if (step.do === 'snapshot' || step.do === 'clone') await this.#derive(step.do, step.entry)
    else if (step.do === 'delete') await this.#delete(step.entry)
    else await this.#inOut(step)
  }

  async #inOut(step: Extract<Operation, { entry: number }>): Promise<void> {
    const [id, model] = await this.#pick(step.entry, 'volume')
    if (step.do === 'resize') {
      model.size = GROWN
      await this.#store.resize(id, GROWN)
      return
    }
    await using volume = await this.#store.open(id)
    if (step.do === 'flush') await volume.flush(CALL)
    else if (step.do === 'unmap-all') {
      await volume.unmap(0, model.size, CALL)
      for (const window of model.windows) window.fill(0)
    } else if ('window' in step) {
      const window = model.size === GROWN ? step.window : step.window % WINDOWS.length
      const start = step.start * SECTOR
      const length = Math.min(WINDOW - start, step.sectors * SECTOR)
      const offset = windowOffset(window) + start
      const bytes = model.windows[window]?.subarray(start, start + length)
      assert.ok(bytes)
      if (step.do === 'unmap') {
        await volume.unmap(offset, length, CALL)
        bytes.fill(0)
      } else if (step.do === 'write') {
        bytes.fill(step.fill)
        await volume.write(offset, Uint8Array.from(bytes), CALL)
      } else if (step.do === 'burst') {
        // Every sector a write of its own, all under way at once: neighbours in a block must not hurt each other.
        const writes = []
        for (let at = 0; at < length; at += SECTOR) {
          bytes.fill((step.fill + at / SECTOR) & 0xff, at, at + SECTOR)
          writes.push(volume.write(offset + at, Uint8Array.from(bytes.subarray(at, at + SECTOR)), CALL))
        }
        await Promise.all(writes)
      }
    }
  }

  async #derive(how: 'snapshot' | 'clone', entry: number): Promise<void> {
    const [id, model] = await this.#pick(entry, how === 'snapshot' ? 'volume' : undefined)
    const name = `${how}-${this.#names++}`
    if (how === 'snapshot') await this.#store.snapshot(id, name)
    else await this.#store.clone(id, name)
    const windows = model.windows.map((window) => Uint8Array.from(window))
    this.#models.set(name, { kind: how === 'snapshot' ? 'snapshot' : 'volume', size: model.size, windows })
  }

  async #revert(entry: number, to: number): Promise<void> {
    const [id, model] = await this.#pick(entry, 'volume')
    const snapshots = [...this.#models].filter(
      ([, { kind, size }]) => kind === 'snapshot' && size <= model.size,
    )
    const target = snapshots[to % Math.max(1, snapshots.length)]
    if (target === undefined) return
    await this.#store.revert(id, target[0])
    model.windows = target[1].windows.map((window) => Uint8Array.from(window))
  }

  async #delete(entry: number): Promise<void> {
    const [id] = await this.#pick(entry)
    await this.#store.delete(id)
    this.#models.delete(id)
  }

  /** One of the entries, made if there is none. */
  async #pick(entry: number, kind?: 'volume'): Promise<[string, Model]> {
    const candidates = [...this.#models].filter(([, model]) => kind === undefined || model.kind === kind)
    const found = candidates[entry % Math.max(1, candidates.length)]
    if (found !== undefined) return found
    const id = `volume-${this.#names++}`
    const windows = [0, 1, 2, 3].map(() => new Uint8Array(WINDOW))
    const model: Model = { kind: 'volume', size: SIZE, windows }
    await this.#store.create(id, SIZE)
    this.#models.set(id, model)
    return [id, model]
  }

  async verify(): Promise<void> {
    assert.deepEqual(
      this.#store
        .list()
        .map(({ id, kind, sizeBytes }) => [id, kind, sizeBytes])
        .sort(),
      [...this.#models].map(([id, { kind, size }]) => [id, kind, size]).sort(),
    )
    for (const [id, model] of this.#models) {
      await using volume = await this.#store.open(id)
      for (const [number, expected] of model.windows.entries()) {
        const offset = windowOffset(number)
        if (offset >= model.size) continue
        const bytes = await readBytes(volume, offset, WINDOW, CALL)
        assert.ok(Buffer.from(bytes).equals(expected), `${id} differs in window ${number}`)
      }
      const extents = await volume.extents(0, model.size, CALL)
      assert.equal(
        extents.reduce((sum, { length }) => sum + length, 0),
        model.size,
      )
      const dataBytes = extents.reduce((sum, { length, state }) => sum + (state === 'data' ? length : 0), 0)
      assert.ok(dataBytes <= 4 * (WINDOW + 2 * BLOCK_BYTES), `${dataBytes} bytes are more than were written`)
    }
  }

  /** Everything deleted has to leave nothing behind, and counts must be those of the maps. */
  async verifySpace(): Promise<void> {
    await this.#store.settled()
    const report = await this.#store.check({ data: true })
    assert.deepEqual(report.errors, [])
    assert.deepEqual(report.warnings, [])
    for (const id of this.#models.keys()) {
      await using volume = await this.#store.open(id)
      await volume.flush(CALL)
    }
    assert.equal(this.#store.usage().usedBytes, (await this.#store.check()).blocks * BLOCK_BYTES)
    for (const id of this.#models.keys()) await this.#store.delete(id)
    await this.#store.settled()
    const empty = await this.#store.check()
    assert.deepEqual([empty.layers, empty.blocks, this.#store.usage().usedBytes], [0, 0, 0])
    assert.deepEqual(empty.warnings, [])
  }
}

function windowOffset(window: number): number {
  return WINDOWS[window] ?? GROWN_WINDOW
}

/** Found by chance: a volume is deleted while its last user, a merge in the background, closes it. */
const closedWhileDeleted: Operation[] = [
  { do: 'clone', entry: 0 },
  { do: 'delete', entry: 0 },
  { do: 'write', entry: 0, window: 0, start: 0, sectors: 1, fill: 1 },
  { do: 'write', entry: 0, window: 0, start: 8, sectors: 1, fill: 1 },
  { do: 'delete', entry: 0 },
]

for (const [name, tuning] of Object.entries({
  'with operations inline': {},
  'with operations on the thread pool and hardly any memory for maps': {
    inlineReadBytes: 0,
    inlineWriteBytes: 0,
    indexBytes: 80 * 1024,
    foldBytes: 0,
  },
})) {
  test(`any history gives what arrays of bytes would, ${name}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 60 }), async (steps) => {
        const directory = await mkdtemp(join(tmpdir(), 'thin-store-'))
        try {
          const pair = await Pair.open({ directory, ...tuning })
          try {
            for (const step of steps) await pair.run(step)
            await pair.verify()
            await pair.verifySpace()
          } finally {
            await pair.close()
          }
        } finally {
          await rm(directory, { recursive: true })
        }
      }),
      { numRuns: RUNS, examples: [[closedWhileDeleted]] },
    )
  })
}
