import { randomUUID } from 'node:crypto'
import { projects, startTestBlock, type TestBlock } from '../src/block/testing.ts'
import { type TestEngine, testEngines } from '../src/kernel/db/testing.ts'
import { median, type Row, timed } from './table.ts'

const few = 100
const many = 100_000
/** SQLite takes 32,766 parameters per statement. */
const rowsPerInsert = 500

/** What clients ask of long lists: orders, filters, a page in the middle, and what is counted. */
const queries: Readonly<Record<string, (middleId: string) => string>> = {
  newest: () => '/volumes/detail?limit=100',
  'from the middle': (middleId) => `/volumes/detail?limit=100&marker=${middleId}`,
  'by name': () => '/volumes/detail?limit=100&sort=name:asc',
  'by size': () => '/volumes/detail?limit=100&sort=size:desc',
  'of one status': () => '/volumes/detail?limit=100&status=available',
  'of one name': () => '/volumes/detail?limit=100&name=bench-7',
  'not bootable': () => '/volumes/detail?limit=100&bootable=false',
  bootable: () => '/volumes/detail?limit=100&bootable=true',
  'of one rare pair of metadata': () => `/volumes/detail?limit=100&metadata=${pair('node', '7')}`,
  'of one common pair of metadata': () => `/volumes/detail?limit=100&metadata=${pair('tier', 'a')}`,
  'of one rare pair, by name': () => `/volumes/detail?limit=100&sort=name:asc&metadata=${pair('node', '7')}`,
  'of one common pair, by name': () =>
    `/volumes/detail?limit=100&sort=name:asc&metadata=${pair('tier', 'a')}`,
  'with their number': () => '/volumes/detail?limit=100&with_count=true',
  limits: () => '/limits',
  'quota and its use': () => `/os-quota-sets/${projects.demo}?usage=true`,
  summary: () => '/volumes/summary',
}

function pair(key: string, value: string): string {
  return encodeURIComponent(`{'${key}': '${value}'}`)
}

/** What a page of 100 volumes costs when there are 100,000, beside the same page when there are 100. */
export async function benchPages(): Promise<Row[]> {
  const rows: Row[] = []
  for (const engine of testEngines().engines) {
    const short = await measure(engine, few)
    const long = await measure(engine, many)
    for (const what of Object.keys(queries)) {
      const [of100, of100000] = [short.get(what) ?? Number.NaN, long.get(what) ?? Number.NaN]
      rows.push({
        what: `${engine.name}: 100 volumes of ${many}, ${what}`,
        ours: `${of100000.toFixed(1)} ms`,
        peer: `of ${few}: ${of100.toFixed(1)} ms`,
        ratio: of100 / of100000,
      })
    }
  }
  return rows
}

async function measure(engine: TestEngine, count: number): Promise<ReadonlyMap<string, number>> {
  await using block = await startTestBlock(engine)
  const middleId = await fill(block, count)
  const found = new Map<string, number>()
  for (const [what, query] of Object.entries(queries)) {
    const path = query(middleId)
    const ask = async () => {
      const answer = await block.request('member', 'GET', path, { version: '3.71' })
      if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}`)
    }
    const times: number[] = []
    for (let round = 0; round < 15; round++) times.push(await timed(ask))
    found.set(what, median(times))
  }
  return found
}

/** Copies one volume until there are `count`; one in a thousand has failed, or is bootable, or lies on node 7. @returns the id in the middle */
async function fill(block: TestBlock, count: number): Promise<string> {
  await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1, name: 'bench-0' } } })
  await block.idle()
  const { kysely } = block.database
  const volume = await kysely.selectFrom('volumes').selectAll().executeTakeFirstOrThrow()
  const copies = Array.from({ length: count - 1 }, (_, i) => ({
    ...volume,
    id: randomUUID(),
    name: `bench-${(i * 7919) % count}`,
    size_gib: 1 + (i % 7),
    status: i % 1000 === 0 ? 'error' : 'available',
    bootable: i % 1000 === 0 ? 1 : 0,
    metadata: JSON.stringify({ tier: i % 2 === 0 ? 'a' : 'b', node: String(i % 1000) }),
    created_at: new Date(1.7e12 + i * 1000).toISOString(),
  }))
  for (let start = 0; start < copies.length; start += rowsPerInsert) {
    await kysely
      .insertInto('volumes')
      .values(copies.slice(start, start + rowsPerInsert))
      .execute()
  }
  return copies[Math.floor(copies.length / 2)]?.id ?? volume.id
}
