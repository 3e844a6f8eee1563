import { randomUUID } from 'node:crypto'
import { startTestBlock, type TestBlock } from '../src/block/testing.ts'
import { openDatabase } from '../src/kernel/db/database.ts'
import { migrate } from '../src/kernel/db/migrate.ts'
import type { Contents, TestEngine } from '../src/kernel/db/testing.ts'
import { median, type Row, timed } from './table.ts'

const few = 100
const many = 100_000
/** SQLite takes 32,766 parameters per statement. */
const rowsPerInsert = 500

/** What clients ask of long lists: orders, filters, a page in the middle. */
const queries: Readonly<Record<string, (middleId: string) => string>> = {
  newest: () => '',
  'from the middle': (middleId) => `&marker=${middleId}`,
  'by name': () => '&sort=name:asc',
  'by size': () => '&sort=size:desc',
  'of one status': () => '&status=available',
  'of one name': () => '&name=bench-7',
}

/** What a page of 100 volumes costs when there are 100,000, beside the same page when there are 100. */
export async function benchPages(): Promise<Row[]> {
  const short = await measure(few)
  const long = await measure(many)
  return Object.keys(queries).map((what) => {
    const [of100, of100000] = [short.get(what) ?? Number.NaN, long.get(what) ?? Number.NaN]
    return {
      what: `100 volumes of ${many}, ${what}`,
      ours: `${of100000.toFixed(1)} ms`,
      peer: `of ${few}: ${of100.toFixed(1)} ms`,
      ratio: of100 / of100000,
    }
  })
}

async function measure(count: number): Promise<ReadonlyMap<string, number>> {
  await using block = await startTestBlock(sqliteInMemory)
  const middleId = await fill(block, count)
  const found = new Map<string, number>()
  for (const [what, query] of Object.entries(queries)) {
    const ask = async () => {
      const path = `/volumes/detail?limit=100${query(middleId)}`
      const answer = await block.request('member', 'GET', path, { version: '3.71' })
      if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}`)
    }
    const times: number[] = []
    for (let round = 0; round < 15; round++) times.push(await timed(ask))
    found.set(what, median(times))
  }
  return found
}

const sqliteInMemory: TestEngine = {
  name: 'SQLite',
  async open<Tables>(contents: Contents = {}) {
    const database = await openDatabase<Tables>('sqlite://')
    for (const [owner, migrations] of Object.entries(contents)) {
      await migrate(database.kysely, owner, migrations)
    }
    return database
  },
  place: () => Promise.reject(new Error('the bench opens one connection only')),
}

/** Copies one volume until there are `count`; one in a thousand has failed. @returns the id in the middle */
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
