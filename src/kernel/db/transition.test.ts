import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Kysely } from 'kysely'
import { Conflict, NotFound } from '../errors.ts'
import { onEachEngine } from './testing.ts'
import { transition } from './transition.ts'

interface Tables {
  things: { id: string; status: string; size: number }
  others: { name: string }
}

const contents = {
  things: {
    '0001-things': {
      async up(db: Kysely<unknown>) {
        await db.schema
          .createTable('things')
          .addColumn('id', 'text', (column) => column.primaryKey())
          .addColumn('status', 'text', (column) => column.notNull())
          .addColumn('size', 'integer', (column) => column.notNull())
          .execute()
      },
    },
  },
}

onEachEngine((engine) => {
  test(`of racing transitions exactly one wins, and the others are told, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>(contents)
    const db = database.kysely
    await db.insertInto('things').values({ id: 'a', status: 'available', size: 1 }).execute()
    const racers = Array.from({ length: 8 }, (_, size) =>
      transition(db, 'things', 'a', { from: ['available', 'error'], to: 'deleting', set: { size } }),
    )
    const outcomes = await Promise.allSettled(racers)
    const winners = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    assert.equal(winners.length, 1)
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') {
        assert.ok(outcome.reason instanceof Conflict)
        assert.equal(outcome.reason.details['status'], 'deleting')
      }
    }
    const row = await db.selectFrom('things').selectAll().executeTakeFirstOrThrow()
    assert.deepEqual(row, winners[0]?.value)
  })

  test(`a transition of a missing row says so, and changes no other, on ${engine.name}`, async () => {
    await using database = await engine.open<Tables>(contents)
    const db = database.kysely
    await db.insertInto('things').values({ id: 'a', status: 'available', size: 1 }).execute()
    await assert.rejects(transition(db, 'things', 'b', { from: ['available'], to: 'error' }), NotFound)
    // @ts-expect-error a table without a status has no transitions
    await assert.rejects(transition(db, 'others', 'b', { from: ['available'], to: 'error' }))
    const row = await db.selectFrom('things').selectAll().executeTakeFirstOrThrow()
    assert.equal(row.status, 'available')
  })
})
