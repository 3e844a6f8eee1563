import assert from 'node:assert/strict'
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { Database } from '../database/database.ts'
import { ThinStore } from '../store/thin-store.ts'
import { CopyTable } from './copy-table.ts'
import { Medium } from './medium.ts'
import { Rebuilds } from './rebuilds.ts'
import { ReplicatedStore } from './replicated-store.ts'

const CALL = { signal: new AbortController().signal }
const VOLUME_BYTES = 128 * 1024 * 1024
const BLOCK = 4096
/** Blocks that are written: at the start, and on both sides of the border between two pages of the map. */
const BLOCKS = [
  ...Array.from({ length: 24 }, (_, at) => at),
  ...Array.from({ length: 24 }, (_, at) => 16128 - 12 + at),
]

/** A store with two copies of everything, in `root`. */
async function openIn(
  root: string,
): Promise<{ store: ReplicatedStore; rebuilds: Rebuilds; database: Database }> {
  const database = new Database(join(root, 'metadata.sqlite'))
  const table = new CopyTable(database)
  const media: Medium[] = []
  for (const name of ['a', 'b']) {
    media.push(await Medium.at({ path: join(root, name), media: 'hdd' }, 'system', undefined))
  }
  const errors: unknown[] = []
  const store = new ReplicatedStore(media, table, {
    wanted: (id) => (id.startsWith('v') ? { replicaCount: 2, mode: 'hybrid' } : undefined),
    ownerOf: (id) => (id.startsWith('s') ? 'v' : undefined),
    damaged: (id, offset) => errors.push(`${id} is damaged at ${offset}`),
    changed: () => {},
    failed: (during, error) => errors.push(during, error),
  })
  const rebuilds = new Rebuilds(
    store,
    { snapshotsOf: () => [], failed: (during) => errors.push(during) },
    1e12,
  )
  await store.start()
  assert.deepEqual(errors, [])
  return { store, rebuilds, database }
}

async function contentOf(root: string, medium: string): Promise<number[]> {
  await using store = await ThinStore.open({ directory: join(root, medium, 'store') })
  await store.settled()
  assert.deepEqual((await store.check({ data: true })).errors, [])
  await using volume = await store.open('v')
  const values: number[] = []
  for (const block of BLOCKS) values.push((await readBytes(volume, block * BLOCK, 512, CALL))[0] ?? -1)
  return values
}

async function rootOf(t: TestContext): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), 'replicas-kill-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  return root
}

test('copies that a kill has left different are made the same, with all that was acknowledged', async (t) => {
  const root = await rootOf(t)
  const live = join(root, 'live')
  await mkdir(live)
  const { store, database } = await openIn(live)
  await store.create('v', VOLUME_BYTES)
  const images: { path: string; values: number[]; pending: number }[] = []
  {
    await using volume = await store.open('v')
    const values = BLOCKS.map(() => 0)
    for (let round = 1; round <= 60; round++) {
      const at = (round * 7) % BLOCKS.length
      const data = new Uint8Array(BLOCK).fill(round)
      if (round % 20 === 0) {
        // Between the two copies of a write: one medium is as it was before, the other as it is afterwards.
        const path = join(root, `image-${round}`)
        await cp(join(live, 'a'), join(path, 'a'), { recursive: true })
        await volume.write((BLOCKS[at] ?? 0) * BLOCK, data, CALL)
        await cp(join(live, 'b'), join(path, 'b'), { recursive: true })
        for (const name of ['metadata.sqlite', 'metadata.sqlite-wal']) {
          await cp(join(live, name), join(path, name))
        }
        images.push({ path, values: [...values], pending: at })
      } else await volume.write((BLOCKS[at] ?? 0) * BLOCK, data, CALL)
      values[at] = round
      if (round % 13 === 0) await volume.flush(CALL)
    }
  }
  await store[Symbol.asyncDispose]()
  database.close()
  assert.equal(images.length, 3)
  for (const { path, values, pending } of images) {
    const again = await openIn(path)
    again.rebuilds.wake()
    await again.rebuilds.idle()
    assert.deepEqual(
      again.store.table.of('v').map(({ state, resync }) => [state, resync]),
      [
        ['current', '[]'],
        ['current', '[]'],
      ],
    )
    await again.rebuilds.stop()
    await again.store[Symbol.asyncDispose]()
    again.database.close()
    const [a, b] = [await contentOf(path, 'a'), await contentOf(path, 'b')]
    assert.deepEqual(a, b)
    a.splice(pending, 1)
    assert.deepEqual(a, values.toSpliced(pending, 1))
  }
})
