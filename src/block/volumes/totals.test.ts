import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { test } from 'node:test'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { projects, startTestBlock, type TestBlock } from '../testing.ts'

onEachEngine((engine) => {
  test(`totals and pairs are those of the rows, whatever happens to them, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const db = block.database.kysely
    const rows = await makeVolumes(block, 6)
    const [first, second, third, fourth] = rows.map((row) => row.id) as [string, string, string, string]
    const type = rows[0]?.volume_type_id ?? ''
    const change = (id: string, set: Record<string, unknown>) =>
      db.updateTable('volumes').set(set).where('id', '=', id).execute()
    await change(first, { size_gib: 7, pending_size_gib: 9 })
    await change(second, { project_id: projects.other, volume_type_id: null })
    await change(third, { migration_status: `target:${first}`, consumes_quota: 0 })
    await change(fourth, { metadata: '{"new":"value"}', status: 'error' })
    await db.deleteFrom('volumes').where('id', '=', first).execute()
    const kept = await db.selectFrom('volume_totals').selectAll().where('volumes', '<>', 0).execute()
    const key = (...parts: unknown[]) => parts.map(String).join('/')
    assert.deepEqual(
      kept
        .map((row) =>
          key(
            row.project_id,
            row.volume_type_id,
            row.consumes_quota,
            row.is_target,
            row.volumes,
            row.size_gib,
          ),
        )
        .sort(),
      [
        key(projects.demo, type, 0, 1, 1, 1),
        key(projects.demo, type, 1, 0, 3, 3),
        key(projects.other, '', 1, 0, 1, 1),
      ],
    )
    assert.ok(kept.every((row) => Number(row.growth_gib) === 0))
    await change(second, { host: 'elsewhere@first#p' })
    await change(third, { host: null })
    const placed = await db.selectFrom('volume_host_totals').selectAll().where('volumes', '<>', 0).execute()
    const byHost = await db
      .selectFrom('volumes')
      .select(({ fn }) => ['project_id', 'host', fn.countAll<number>().as('volumes')])
      .select(({ fn }) => fn.sum<number>(fn.coalesce('pending_size_gib', 'size_gib')).as('provisioned_gib'))
      .where('host', 'is not', null)
      .groupBy(['project_id', 'host'])
      .execute()
    const placements = (found: readonly (typeof placed)[number][]) =>
      found.map((row) => key(row.project_id, row.host, row.volumes, row.provisioned_gib)).sort()
    assert.equal(placed.length, 2)
    assert.deepEqual(placements(placed), placements(byHost.map((row) => ({ ...row, host: row.host ?? '' }))))
    const pairs = await db
      .selectFrom('volume_pairs')
      .select(['pair_key', 'pair_value'])
      .where('volume_id', 'in', [first, fourth])
      .where('kind', '=', 'metadata')
      .execute()
    assert.deepEqual(pairs, [{ pair_key: 'new', pair_value: 'value' }])
  })

  test(`pages of one pair of metadata are those without an index, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const rows = await makeVolumes(block, 9)
    const wanted = rows.filter((_row, i) => i % 2 === 0).map((row) => row.name)
    const pages = async (query: string, as: 'member' | 'admin' = 'member') => {
      const names: string[] = []
      let next: string | undefined = `?limit=2&metadata={'tier':'even','all':'yes'}&${query}`
      while (next !== undefined) {
        const { body, text } = await block.request(as, 'GET', `/volumes/detail${next}`, { version: '3.60' })
        assert.ok(body.volumes, text)
        names.push(...body.volumes.map((volume: { name: string }) => volume.name))
        const link: string | undefined = body.volumes_links?.[0]?.href
        next = link === undefined ? undefined : new URL(link).search
      }
      return names
    }
    assert.deepEqual(await pages(''), wanted.toReversed())
    assert.deepEqual(await pages('sort=created_at:asc'), wanted)
    assert.deepEqual(await pages('sort=name:desc'), wanted.toReversed())
    assert.deepEqual(await pages('all_tenants=1', 'admin'), wanted.toReversed())
    assert.deepEqual(await pages(`name=${wanted[1]}`), [wanted[1]])
    const ofImage = `glance_metadata={'all':'yes','os':'${longValue(0)}'}`
    for (const query of [ofImage, `${ofImage}&sort=name:asc`, `with_count=true&${ofImage}`]) {
      const { body } = await block.request('member', 'GET', `/volumes?${query}`, { version: '3.60' })
      const names = body.volumes.map((volume: { name: string }) => volume.name)
      assert.deepEqual([names, body.count ?? 1], [['volume-0'], 1], query)
    }
    const changed = (bound: string) => pages(`updated_at=${bound}:2001-01-01T00:00:00`)
    assert.deepEqual([await changed('gt'), await changed('lt')], [['volume-2'], []])
    const { body } = await block.request('member', 'GET', '/volumes/summary', { version: '3.36' })
    assert.deepEqual(body['volume-summary'], {
      total_count: 9,
      total_size: 9,
      metadata: { all: ['yes'], tier: ['even', 'odd'] },
    })
  })
})

/** Values that differ only where the index of pairs does not look. */
function longValue(i: number): string {
  return `${'x'.repeat(300)}${i}`
}

/** Volumes of the member's project, created one second after the other. */
async function makeVolumes(block: TestBlock, count: number) {
  const { body } = await block.request('member', 'POST', '/volumes', { body: { volume: { size: 1 } } })
  await block.idle()
  const db = block.database.kysely
  const volume = await db.selectFrom('volumes').selectAll().executeTakeFirstOrThrow()
  const copies = Array.from({ length: count }, (_, i) => ({
    ...volume,
    id: randomUUID(),
    name: `volume-${i}`,
    metadata: JSON.stringify({ tier: i % 2 === 0 ? 'even' : 'odd', all: 'yes' }),
    image_metadata: JSON.stringify({ os: longValue(i), all: 'yes' }),
    updated_at: i === 2 ? '2002-01-01T00:00:00.000Z' : null,
    created_at: new Date(1.7e12 + i * 1000).toISOString(),
  }))
  await db.insertInto('volumes').values(copies).execute()
  await block.request('member', 'DELETE', `/volumes/${body.volume.id}`)
  await block.idle()
  return copies
}
