import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, mkdtemp, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { Expectations, verify } from './crash-expectations.ts'
import { type CrashLine, stress } from './crash-load.ts'
import { LayerDirectory, LayerFiles } from './layer-files.ts'
import { encodeSlot, PAGE_BYTES, PageKind, SLOT_BYTES } from './map-page.ts'
import { ThinStore } from './thin-store.ts'

/** Power failures: more of them with EMBERGLASS_CRASHES=500 or so. */
const FAILURES = Number(process.env['EMBERGLASS_CRASHES'] ?? 25)
const SECTOR = 512
/** Sectors by their offset in a file. */
type Sectors = Map<number, Uint8Array>

/** What a disk holds after the power failed, and how far the log had come. */
interface Image {
  readonly files: Map<string, Sectors>
  readonly catalog: Map<string, Buffer>
  /** The journals, all of which may have reached the disk: nobody may believe them. */
  readonly journals: Map<string, Buffer>
  readonly lines: number
}

interface FileState {
  readonly durable: Sectors
  /** Written, and not synced yet: each sector of it may be lost. */
  cached: { offset: number; bytes: Uint8Array }[]
  named: boolean
}

/** Watches what a store writes and syncs, as a disk with a volatile cache would. */
class Disk {
  readonly #directory: string
  readonly #files = new Map<string, FileState>()
  #state = 1

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Deterministic, from 0 up to `below`. */
  random(below: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0
    return Math.floor((this.#state / 2 ** 32) * below)
  }

  create(path: string): void {
    this.#file(path)
  }

  write(path: string, offset: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.byteLength; at += SECTOR) {
      this.#file(path).cached.push({
        offset: offset + at,
        bytes: Uint8Array.from(bytes.subarray(at, at + SECTOR)),
      })
    }
  }

  /** @returns what makes durable the writes that were there when this was called */
  sync(path: string): () => void {
    const file = this.#file(path)
    const { length } = file.cached
    return () => {
      for (const { offset, bytes } of file.cached.slice(0, length)) file.durable.set(offset, bytes)
      file.cached = file.cached.slice(length)
    }
  }

  /** @returns what makes durable the names that were there when this was called */
  syncNames(): () => void {
    const files = [...this.#files.values()]
    return () => {
      for (const file of files) file.named = true
    }
  }

  /** Cut to nothing: whether that reaches the disk before what is written later is open. */
  empty(path: string): void {
    const file = this.#file(path)
    if (this.random(2) === 0) return
    file.durable.clear()
    file.cached = []
  }

  unlink(path: string): void {
    this.#files.delete(path)
  }

  fail(lines: number): Image {
    const files = new Map<string, Sectors>()
    for (const [path, { durable, cached, named }] of this.#files) {
      if (!named && this.random(2) === 0) continue
      const sectors = new Map(durable)
      // Nothing, everything or any part of the cache has reached the disk.
      const share = this.random(3)
      for (const { offset, bytes } of cached) if (this.random(2) < share) sectors.set(offset, bytes)
      files.set(path, sectors)
    }
    const catalog = new Map<string, Buffer>()
    for (const name of ['catalog.sqlite', 'catalog.sqlite-wal']) {
      catalog.set(name, readFileSync(join(this.#directory, name)))
    }
    const journals = new Map<string, Buffer>()
    for (const name of readdirSync(join(this.#directory, 'layers'))) {
      if (!name.includes('.journal-')) continue
      journals.set(name, readFileSync(join(this.#directory, 'layers', name)))
    }
    return { files, catalog, journals, lines }
  }

  #file(path: string): FileState {
    const file = this.#files.get(path) ?? { durable: new Map(), cached: [], named: false }
    this.#files.set(path, file)
    return file
  }
}

/** Lets `disk` see everything, and `moment` be called at every step that a failure may fall between. */
function watch(t: TestContext, disk: Disk, moment: () => void): void {
  const { prototype } = LayerFiles
  const { create, write, writeLater, syncData, unlink, clearMarks, writeMarks } = prototype
  const pathOf = (files: LayerFiles, part: string): string => files.dataPath.replace(/data$/, part)
  t.mock.method(prototype, 'create', function (this: LayerFiles) {
    create.call(this)
    disk.create(this.dataPath)
    for (const part of ['map', 'sums', 'marks']) disk.create(pathOf(this, part))
  })
  t.mock.method(prototype, 'write', function (this: LayerFiles, data: Uint8Array, offset: number) {
    write.call(this, data, offset)
    disk.write(this.dataPath, offset, data)
    moment()
  })
  t.mock.method(prototype, 'writeLater', async function (this: LayerFiles, data: Uint8Array, offset: number) {
    disk.write(this.dataPath, offset, data)
    await writeLater.call(this, data, offset)
    moment()
  })
  for (const [name, part, kind] of [
    ['writePage', 'map', PageKind.map],
    ['writeSumsPage', 'sums', PageKind.sums],
  ] as const) {
    const original = prototype[name]
    const watched: typeof original = function (this: LayerFiles, page, states, previous) {
      original.call(this, page, states, previous)
      const layer = Number(basename(this.dataPath, '.data'))
      const slot = encodeSlot(layer, page, previous.sequence + 1, states, kind)
      disk.write(pathOf(this, part), page * PAGE_BYTES + (1 - previous.slot) * SLOT_BYTES, slot)
      moment()
    }
    t.mock.method(prototype, name, watched)
  }
  t.mock.method(prototype, 'writeMarks', function (this: LayerFiles, bytes: Uint8Array, offset: number) {
    writeMarks.call(this, bytes, offset)
    disk.write(pathOf(this, 'marks'), offset, bytes)
    moment()
  })
  t.mock.method(prototype, 'clearMarks', function (this: LayerFiles) {
    clearMarks.call(this)
    disk.empty(pathOf(this, 'marks'))
    moment()
  })
  t.mock.method(prototype, 'syncData', async function (this: LayerFiles) {
    const done = disk.sync(this.dataPath)
    await syncData.call(this)
    moment()
    done()
    moment()
  })
  for (const [name, part] of [
    ['syncMap', 'map'],
    ['syncSums', 'sums'],
    ['syncMarks', 'marks'],
  ] as const) {
    const original = prototype[name]
    t.mock.method(prototype, name, async function (this: LayerFiles) {
      const done = disk.sync(pathOf(this, part))
      await original.call(this)
      moment()
      done()
      moment()
    })
  }
  t.mock.method(prototype, 'unlink', async function (this: LayerFiles) {
    await unlink.call(this)
    disk.unlink(this.dataPath)
    for (const part of ['map', 'sums', 'marks']) disk.unlink(pathOf(this, part))
  })
  const { sync } = LayerDirectory.prototype
  t.mock.method(LayerDirectory.prototype, 'sync', async function (this: LayerDirectory) {
    const done = disk.syncNames()
    await sync.call(this)
    moment()
    done()
    moment()
  })
}

async function restore(image: Image, directory: string): Promise<void> {
  await mkdir(join(directory, 'layers'), { recursive: true })
  for (const [name, bytes] of image.catalog) await writeFile(join(directory, name), bytes)
  for (const [name, bytes] of image.journals) await writeFile(join(directory, 'layers', name), bytes)
  for (const [path, sectors] of image.files) {
    await using file = await open(join(directory, 'layers', basename(path)), 'w')
    for (const [offset, bytes] of sectors) await file.write(bytes, 0, bytes.byteLength, offset)
  }
}

test('a disk that loses or tears whatever was not synced loses nothing that was flushed', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'thin-store-'))
  try {
    const directory = join(root, 'live')
    const disk = new Disk(directory)
    const lines: CrashLine[] = []
    const images: Image[] = []
    let moments = 0
    let next = 1
    watch(t, disk, () => {
      if (++moments < next || images.length >= FAILURES) return
      next = moments + 1 + disk.random(60)
      images.push(disk.fail(lines.length))
    })
    {
      await using store = await ThinStore.open({
        directory,
        inlineWriteBytes: 8192,
        foldBytes: 65536,
        bootId: 'before the failure',
      })
      for (let seed = 1; images.length < FAILURES && seed < 10_000; seed++) {
        await stress(store, {
          rounds: 10,
          seed,
          firstVersion: seed * 100_000,
          log: (line) => lines.push(line),
        })
      }
    }
    t.mock.restoreAll()
    assert.equal(images.length, FAILURES)
    assert.ok(images.some(({ journals }) => [...journals.values()].some((bytes) => bytes.byteLength > 64)))
    for (const [number, image] of images.entries()) {
      const copy = join(root, String(number))
      await restore(image, copy)
      const expected = new Expectations(new Map(), 'flushed')
      for (const line of lines.slice(0, image.lines)) expected.apply(line)
      await using store = await ThinStore.open({ directory: copy, bootId: 'after the failure' })
      await verify(store, expected)
      await store.settled()
      assert.deepEqual((await store.check({ data: true })).errors, [])
    }
  } finally {
    await rm(root, { recursive: true })
  }
})
