import { randomUUID } from 'node:crypto'
import { sql } from 'kysely'
import { projects, startTestBlock, type TestBlock } from '../src/block/testing.ts'
import { testEngines } from '../src/kernel/db/testing.ts'
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
  'of one rare status, by name': () => '/volumes/detail?limit=100&sort=name:asc&status=error',
  'by user': () => '/volumes/detail?limit=100&sort=user_id:asc',
  'by migration': () => '/volumes/detail?limit=100&sort=migration_status:asc',
  'changed lately': () =>
    `/volumes/detail?limit=100&updated_at=${encodeURIComponent('gt:2030-01-01T00:00:00')}`,
  limits: () => '/limits',
  'quota and its use': () => `/os-quota-sets/${projects.demo}?usage=true`,
  summary: () => '/volumes/summary',
}

function pair(key: string, value: string): string {
  return encodeURIComponent(`{'${key}': '${value}'}`)
}

/**
 * What a page of 100 volumes costs when there are 100,000, beside the same page when there are 100: asked in turns, so that
 * what else the machine does weighs on both. The summary names 1,002 pairs of metadata of the many, and 102 of the few.
 */
export async function benchPages(): Promise<Row[]> {
  const rows: Row[] = []
  for (const engine of testEngines().engines) {
    await using short = await startTestBlock(engine)
    await using long = await startTestBlock(engine)
    const [middleOfFew, middleOfMany] = [await fill(short, few), await fill(long, many)]
    for (const [what, query] of Object.entries(queries)) {
      const times = { few: [] as number[], many: [] as number[] }
      for (let round = 0; round < 15; round++) {
        times.few.push(await timed(() => ask(short, query(middleOfFew))))
        times.many.push(await timed(() => ask(long, query(middleOfMany))))
      }
      const [ofFew, ofMany] = [median(times.few), median(times.many)]
      rows.push({
        what: `${engine.name}: 100 volumes of ${many}, ${what}`,
        ours: `${ofMany.toFixed(1)} ms`,
        peer: `of ${few}: ${ofFew.toFixed(1)} ms`,
        ratio: ofFew / ofMany,
      })
    }
  }
  return rows
}

async function ask(block: TestBlock, path: string): Promise<void> {
  const answer = await block.request('member', 'GET', path, { version: '3.71' })
  if (answer.status !== 200) throw new Error(`${path} answered ${answer.status}`)
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
  // as autovacuum does within a minute
  if (block.database.engine === 'postgres') await sql`vacuum analyze`.execute(kysely)
  return copies[Math.floor(copies.length / 2)]?.id ?? volume.id
}
