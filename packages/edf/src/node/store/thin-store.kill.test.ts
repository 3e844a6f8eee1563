import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readdirSync } from 'node:fs'
import { mkdtemp, readFile, rm, stat, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { Expectations, verify } from './crash-expectations.ts'
import { type CrashLine, stress } from './crash-load.ts'
import { LayerDirectory, LayerFiles } from './layer-files.ts'
import { MapJournal } from './map-journal.ts'
import { BLOCK_BYTES, BLOCKS_PER_PAGE } from './map-page.ts'
import { ThinStore, type ThinStoreOptions } from './thin-store.ts'

/** Kills: more of them with EMBERGLASS_CRASHES=500 or so. */
const KILLS = Number(process.env['EMBERGLASS_CRASHES'] ?? 25)
const CALL = { signal: new AbortController().signal }
const BOOT = 'today'
const VOLUME_BLOCKS = 2 * BLOCKS_PER_PAGE

interface Victim {
  readonly store: ThinStore
  readonly directory: string
  /** What the next process finds when this one is killed now: all that was written, synced or not. */
  kill(): string
}

async function victimOf(t: TestContext, options: Omit<ThinStoreOptions, 'directory'> = {}): Promise<Victim> {
  const root = await mkdtemp(join(tmpdir(), 'thin-store-'))
  const directory = join(root, 'live')
  const store = await ThinStore.open({ directory, bootId: BOOT, ...options })
  let kills = 0
  t.after(async () => {
    await store[Symbol.asyncDispose]()
    await rm(root, { recursive: true })
  })
  return {
    store,
    directory,
    kill: () => {
      for (;;) {
        const copy = join(root, String(++kills))
        const { status, stderr } = spawnSync('cp', ['-R', directory, copy], { encoding: 'utf8' })
        if (status === 0) return copy
        // The thread pool may have unlinked a file that was just found.
        assert.match(stderr, /No such file/)
      }
    },
  }
}

/** Collects what stores complain about in the background. */
function complaints(t: TestContext): unknown[] {
  const errors: unknown[] = []
  const listener = (message: unknown): void => {
    errors.push(message)
  }
  subscribe('emberglass:edf:store:error', listener)
  t.after(() => unsubscribe('emberglass:edf:store:error', listener))
  return errors
}

const block = (value: number): Uint8Array => new Uint8Array(BLOCK_BYTES).fill(value)

/** First bytes of some blocks. */
async function peek(store: ThinStore, id: string, blocks: readonly number[]): Promise<number[]> {
  await using volume = await store.open(id)
  const values: number[] = []
  for (const at of blocks) {
    const [value = -1, ...rest] = await readBytes(volume, at * BLOCK_BYTES, BLOCK_BYTES, CALL)
    assert.ok(
      rest.every((byte) => byte === value),
      `block ${at} is mixed`,
    )
    values.push(value)
  }
  return values
}

async function assertSound(store: ThinStore): Promise<void> {
  await store.settled()
  const report = await store.check({ data: true })
  assert.deepEqual([report.errors, report.warnings], [[], []])
  assert.equal(store.usage().usedBytes, report.blocks * BLOCK_BYTES)
}

test('writes and unmaps that were acknowledged outlive the process, also in layers that were never flushed', async (t) => {
  const errors = complaints(t)
  for (const inlineWriteBytes of [0, 256 * 1024]) {
    const { store, kill } = await victimOf(t, { inlineWriteBytes })
    await store.create('base', VOLUME_BLOCKS * BLOCK_BYTES)
    const base = await store.open('base')
    for (const at of [0, 1, 2, BLOCKS_PER_PAGE]) await base.write(at * BLOCK_BYTES, block(1), CALL)
    await store.clone('base', 'clone')
    const clone = await store.open('clone')
    await clone.write(BLOCK_BYTES, block(2), CALL)
    await clone.unmap(2 * BLOCK_BYTES, BLOCK_BYTES, CALL)
    await clone.writeZeroes((BLOCKS_PER_PAGE - 1) * BLOCK_BYTES, 2 * BLOCK_BYTES, CALL)
    await clone.write((BLOCKS_PER_PAGE + 1) * BLOCK_BYTES, block(4), CALL)
    await base.write(0, block(3), CALL)
    await base.unmap(BLOCK_BYTES, BLOCK_BYTES, CALL)
    const directory = kill()
    for (let time = 0; time < 2; time++) {
      await using next = await ThinStore.open({ directory, bootId: BOOT })
      assert.deepEqual(await peek(next, 'base', [0, 1, 2, BLOCKS_PER_PAGE]), [3, 0, 1, 1])
      assert.deepEqual(
        await peek(next, 'clone', [0, 1, 2, BLOCKS_PER_PAGE, BLOCKS_PER_PAGE + 1]),
        [1, 2, 0, 0, 4],
      )
      await assertSound(next)
    }
  }
  assert.deepEqual(errors, [])
})

test('the journal of another boot is not believed, and removed', async (t) => {
  const { store, kill } = await victimOf(t)
  await store.create('volume', VOLUME_BLOCKS * BLOCK_BYTES)
  const volume = await store.open('volume')
  await volume.write(0, block(1), CALL)
  await volume.flush(CALL)
  await volume.write(BLOCK_BYTES, block(2), CALL)
  await volume.unmap(0, BLOCK_BYTES, CALL)
  const directory = kill()
  {
    await using next = await ThinStore.open({ directory, bootId: 'tomorrow' })
    assert.deepEqual(await peek(next, 'volume', [0, 1]), [1, 0])
    await assertSound(next)
  }
  await using again = await ThinStore.open({ directory, bootId: BOOT })
  assert.deepEqual(await peek(again, 'volume', [0, 1]), [1, 0])
})

test('a journal that is damaged, or tells of what is not there, costs no more than that', async (t) => {
  const errors = complaints(t)
  const { store, kill } = await victimOf(t)
  await store.create('volume', VOLUME_BLOCKS * BLOCK_BYTES)
  const volume = await store.open('volume')
  for (let at = 0; at < 4; at++) await volume.write(at * BLOCK_BYTES, block(at + 1), CALL)
  const find = (directory: string, suffix: string): string => {
    const layers = join(directory, 'layers')
    return join(layers, readdirSync(layers).find((name) => name.endsWith(suffix)) ?? '')
  }

  const damaged = kill()
  const journal = find(damaged, '.journal-a')
  const bytes = await readFile(journal)
  bytes.fill(0xff, 64 + 32, 64 + 64)
  await writeFile(journal, bytes)
  {
    await using next = await ThinStore.open({ directory: damaged, bootId: BOOT })
    assert.deepEqual(await peek(next, 'volume', [0, 1, 2, 3]), [1, 0, 3, 4])
    await assertSound(next)
  }
  assert.equal(errors.length, 1)

  const shorter = kill()
  const data = find(shorter, '.data')
  await writeFile(data, (await readFile(data)).subarray(0, 2 * BLOCK_BYTES + 1))
  {
    await using next = await ThinStore.open({ directory: shorter, bootId: BOOT })
    assert.deepEqual(await peek(next, 'volume', [0, 1, 2, 3]), [1, 2, 0, 0])
    await assertSound(next)
  }
  assert.equal(errors.length, 2)

  const bare = kill()
  await unlink(find(bare, '.data'))
  {
    await using next = await ThinStore.open({ directory: bare, bootId: BOOT })
    assert.deepEqual(await peek(next, 'volume', [0, 1]), [0, 0])
    await using emptied = await next.open('volume')
    await emptied.write(0, block(9), CALL)
    assert.deepEqual(await peek(next, 'volume', [0, 1]), [9, 0])
    await emptied.flush(CALL)
    await assertSound(next)
  }
  assert.equal(errors.length, 3)
})

test('overwriting notes nothing, a flush forgets, and closing leaves no journal', async (t) => {
  const { store, directory } = await victimOf(t, { journalBytes: 1024 })
  const append = t.mock.method(MapJournal.prototype, 'append')
  await store.create('volume', VOLUME_BLOCKS * BLOCK_BYTES)
  const journals = async (): Promise<number[]> => {
    const names = readdirSync(join(directory, 'layers')).filter((name) => name.includes('journal'))
    return await Promise.all(names.map(async (name) => (await stat(join(directory, 'layers', name))).size))
  }
  {
    await using volume = await store.open('volume')
    await volume.write(0, new Uint8Array(64 * BLOCK_BYTES).fill(1), CALL)
    assert.equal(append.mock.callCount(), 1)
    await volume.write(BLOCK_BYTES, block(2), CALL)
    assert.equal(append.mock.callCount(), 1)
    await volume.unmap(0, 64 * BLOCK_BYTES, CALL)
    await volume.unmap(0, 64 * BLOCK_BYTES, CALL)
    assert.equal(append.mock.callCount(), 2)
    await volume.flush(CALL)
    assert.deepEqual(await journals(), [64])
    // Nobody asks for a flush here: the journal does by itself.
    for (let at = 0; at < 2000; at++) {
      await volume.write(at * BLOCK_BYTES, block(3), CALL)
      await new Promise(setImmediate)
    }
    const total = (await journals()).reduce((sum, size) => sum + size, 0)
    assert.ok(total < (2000 * 32) / 2, `the journal has grown to ${total} bytes`)
  }
  assert.deepEqual(await journals(), [])
})

test('a change that cannot be noted is refused, and the volume goes on', async (t) => {
  for (const inlineWriteBytes of [0, 256 * 1024]) {
    const { store } = await victimOf(t, { inlineWriteBytes })
    await store.create('volume', VOLUME_BLOCKS * BLOCK_BYTES)
    const volume = await store.open('volume')
    await volume.write(0, block(1), CALL)
    const full = t.mock.method(MapJournal.prototype, 'append', () => {
      throw Object.assign(new Error('full'), { code: 'ENOSPC' })
    })
    await assert.rejects(async () => volume.write(BLOCK_BYTES, block(2), CALL), { code: 'no-space' })
    await assert.rejects(volume.unmap(0, BLOCK_BYTES, CALL), { code: 'no-space' })
    full.mock.restore()
    assert.equal((await peek(store, 'volume', [1]))[0], 0)
    await volume.write(BLOCK_BYTES, block(3), CALL)
    assert.equal((await peek(store, 'volume', [1]))[0], 3)
    await volume.flush(CALL)
    await assertSound(store)
  }
})

test('recovery keeps the order that a power failure asks for: data, the last pages, new pages, and then the journal goes', async (t) => {
  const { store, kill } = await victimOf(t)
  await store.create('volume', VOLUME_BLOCKS * BLOCK_BYTES)
  const volume = await store.open('volume')
  await volume.write(0, block(1), CALL)
  await volume.flush(CALL)
  await volume.write(BLOCK_BYTES, block(2), CALL)
  const directory = kill()
  const steps: string[] = []
  for (const name of ['syncData', 'syncMap', 'writePage'] as const) {
    stepAt(t, LayerFiles.prototype, [name], () => {
      const journals = readdirSync(join(directory, 'layers')).filter((file) => file.includes('journal'))
      const step = journals.length > 0 ? name : 'journal gone'
      if (steps.at(-1) !== step) steps.push(step)
    })
  }
  {
    await using next = await ThinStore.open({ directory, bootId: BOOT }).finally(() => t.mock.restoreAll())
    assert.deepEqual(await peek(next, 'volume', [0, 1]), [1, 2])
  }
  assert.deepEqual(steps, ['syncData', 'syncMap', 'writePage', 'syncMap', 'journal gone'])
})

test('a process that is killed between any two steps loses nothing that was acknowledged', async (t) => {
  const errors = complaints(t)
  const lines: CrashLine[] = []
  const images: { directory: string; lines: number }[] = []
  const { store, kill } = await victimOf(t, {
    inlineWriteBytes: 8192,
    foldBytes: 65536,
    journalBytes: 512,
  })
  let state = Number(process.env['EMBERGLASS_SEED'] ?? 1)
  let steps = 0
  let next = 1
  const step = (): void => {
    if (++steps < next || images.length >= KILLS) return
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    next = steps + 1 + ((state >>> 8) % 60)
    images.push({ directory: kill(), lines: lines.length })
  }
  stepAt(
    t,
    LayerFiles.prototype,
    [
      ...(['create', 'write', 'writeLater', 'syncData', 'unlink', 'writePage', 'syncMap'] as const),
      ...(['writeSumsPage', 'syncSums', 'writeMarks', 'syncMarks', 'clearMarks'] as const),
    ],
    step,
  )
  stepAt(t, LayerDirectory.prototype, ['sync'], step)
  stepAt(t, MapJournal.prototype, ['append', 'seal', 'drop', 'remove'], step)
  for (let seed = 1; images.length < KILLS && seed < 10_000; seed++) {
    await stress(store, {
      rounds: 10,
      seed,
      firstVersion: seed * 100_000,
      log: (line) => lines.push(line),
    })
  }
  t.mock.restoreAll()
  assert.equal(images.length, KILLS)
  for (const image of images) {
    const expected = new Expectations(new Map(), 'acknowledged')
    for (const line of lines.slice(0, image.lines)) expected.apply(line)
    await using reopened = await ThinStore.open({ directory: image.directory, bootId: BOOT })
    await verify(reopened, expected)
    await assertSound(reopened)
  }
  assert.deepEqual(errors, [])
})

/** Has `step` called before and after each call of some methods. */
function stepAt<T extends object>(
  t: TestContext,
  prototype: T,
  names: readonly (keyof T & string)[],
  step: () => void,
): void {
  for (const name of names) {
    const original: unknown = prototype[name]
    assert.ok(typeof original === 'function')
    t.mock.method(
      prototype as Record<string, (...args: unknown[]) => unknown>,
      name,
      function (this: T, ...args: unknown[]) {
        step()
        const result: unknown = Reflect.apply(original, this, args)
        if (result instanceof Promise) return result.finally(step)
        step()
        return result
      },
    )
  }
}
