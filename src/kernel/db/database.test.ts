import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Kysely } from 'kysely'
import { Misconfigured } from '../errors.ts'
import { openDatabase } from './database.ts'
import { type Migrations, migrate } from './migrate.ts'
import { onEachEngine } from './testing.ts'
import { isUniqueViolation } from './violations.ts'

interface Tables {
  things: { id: string; size_bytes: number; public: boolean | number; note: string | null }
}

const migrations: Migrations = {
  '0001-things': {
    async up(db: Kysely<unknown>) {
      await db.schema
        .createTable('things')
        .addColumn('id', 'text', (column) => column.primaryKey())
        .addColumn('size_bytes', 'bigint', (column) => column.notNull())
        .addColumn('public', 'boolean', (column) => column.notNull())
        .execute()
    },
  },
  '0002-note': {
    async up(db: Kysely<unknown>) {
      await db.schema.alterTable('things').addColumn('note', 'text').execute()
    },
  },
}
const contents = { things: migrations }

onEachEngine((engine) => {
  test(`sizes up to 8 PiB come back as exact numbers, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>(contents)
    const row = { id: 'a', size_bytes: Number.MAX_SAFE_INTEGER, public: true, note: null }
    await database.kysely.insertInto('things').values(row).execute()
    const found = await database.kysely.selectFrom('things').selectAll().executeTakeFirstOrThrow()
    assert.equal(found.size_bytes, Number.MAX_SAFE_INTEGER)
    assert.equal(Boolean(found.public), true)
    assert.equal(found.note, null)
  })

  test(`rows are plain objects with every column, also after a column was added, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables & { things: { later: string | null } }>(contents)
    const { kysely } = database
    await kysely
      .insertInto('things')
      .values({ id: 'a', size_bytes: 1, public: 1 as never, note: 'x' })
      .execute()
    const rows = () => kysely.selectFrom('things').selectAll().execute()
    const [row] = await rows()
    assert.deepEqual(
      { ...row, public: Number(row?.public) },
      { id: 'a', size_bytes: 1, public: 1, note: 'x' },
    )
    assert.equal(Object.getPrototypeOf(row), Object.prototype)
    await kysely.schema.alterTable('things').addColumn('later', 'text').execute()
    assert.equal((await rows())[0]?.later, null)
  })

  test(`a transaction that throws leaves nothing, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>(contents)
    await assert.rejects(
      database.kysely.transaction().execute(async (transaction) => {
        await transaction
          .insertInto('things')
          .values({ id: 'a', size_bytes: 1, public: false, note: null })
          .execute()
        throw new Error('no')
      }),
      /no/,
    )
    assert.deepEqual(await database.kysely.selectFrom('things').selectAll().execute(), [])
  })

  test(`a second row with the same key is told from other failures, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>(contents)
    const insertBroken = (id: string) =>
      database.kysely
        .insertInto('things')
        .values({ id, size_bytes: null as unknown as number, public: false, note: null })
        .execute()
    await assert.rejects(insertBroken('a'), (error) => !isUniqueViolation(error)) // size_bytes must not be null
    const twice = { id: 'a', size_bytes: 1, public: false, note: null }
    await database.kysely.insertInto('things').values(twice).execute()
    await assert.rejects(database.kysely.insertInto('things').values(twice).execute(), isUniqueViolation)
  })

  test(`each place is a database of its own, and a reopened one has its rows, on ${engine.name}`, async () => {
    await using one = await engine.place()
    await using other = await engine.place()
    for (const place of [one, other]) {
      await using database = await place.open<Tables>(contents)
      await database.kysely
        .insertInto('things')
        .values({ id: place.url, size_bytes: 1, public: false, note: null })
        .execute()
    }
    await using again = await one.open<Tables>(contents)
    const rows = await again.kysely.selectFrom('things').select('id').execute()
    assert.deepEqual(rows, [{ id: one.url }])
  })

  test(`a later migration runs on top of what is there, once, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>()
    const { '0001-things': first } = migrations
    assert.ok(first)
    await migrate(database.kysely, 'things', { '0001-things': first })
    await migrate(database.kysely, 'things', migrations)
    await migrate(database.kysely, 'things', migrations)
    await database.kysely
      .insertInto('things')
      .values({ id: 'a', size_bytes: 1, public: false, note: 'x' })
      .execute()
    await assert.rejects(
      migrate(database.kysely, 'other', { '0001-broken': { up: () => Promise.reject(new Error('broken')) } }),
      /broken/,
    )
  })

  test(`migrations that fail leave nothing, and those of a newer version are refused, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>()
    const broken: Migrations = {
      ...migrations,
      '0003-broken': { up: () => Promise.reject(new Error('broken')) },
    }
    await assert.rejects(migrate(database.kysely, 'things', broken), /broken/)
    await assert.rejects(database.kysely.selectFrom('things').selectAll().execute())
    await migrate(database.kysely, 'things', migrations)
    const { '0001-things': first } = migrations
    assert.ok(first)
    await assert.rejects(migrate(database.kysely, 'things', { '0001-things': first }), Misconfigured)
  })

  test(`processes that migrate at the same time do it once, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>()
    await Promise.all(Array.from({ length: 4 }, () => migrate(database.kysely, 'things', migrations)))
    assert.deepEqual(await database.kysely.selectFrom('things').selectAll().execute(), [])
  })
})

test('a kind of database that is not supported is named', async () => {
  await assert.rejects(openDatabase('mysql+pymysql://u:p@host/cinder'), (error) => {
    assert.ok(error instanceof Misconfigured)
    assert.match(error.message, /'mysql\+pymysql'/)
    assert.doesNotMatch(error.message, /:p@/)
    return true
  })
})
