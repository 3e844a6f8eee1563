import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  BLOCKS_PER_PAGE,
  countData,
  DATA,
  decodePage,
  encodeSlot,
  hasUnknownState,
  PAGE_BYTES,
  SLOT_BYTES,
  STATE_BYTES,
  setState,
  stateOf,
} from './map-page.ts'

const states = new Uint8Array(STATE_BYTES).fill(0b01_10_00_01)

function page(first: Buffer, second: Buffer): Buffer {
  return Buffer.concat([first, second])
}

test('the slot with the higher sequence is the page', () => {
  const old = encodeSlot(7, 3, 4, new Uint8Array(STATE_BYTES))
  const recent = encodeSlot(7, 3, 5, states)
  for (const [bytes, slot] of [
    [page(old, recent), 1],
    [page(recent, old), 0],
  ] as const) {
    assert.deepEqual(decodePage(bytes, 7, 3), { states, sequence: 5, slot, badSlots: 0 })
  }
})

test('a page that was never written is empty', () => {
  assert.equal(decodePage(Buffer.alloc(PAGE_BYTES), 7, 3)?.states, undefined)
})

test('a slot damaged anywhere gives way to the other one', () => {
  const old = encodeSlot(7, 3, 4, states)
  const recent = encodeSlot(7, 3, 5, new Uint8Array(STATE_BYTES))
  fc.assert(
    fc.property(fc.nat(SLOT_BYTES - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
      const torn = Buffer.from(recent)
      torn[at] = (torn[at] ?? 0) ^ flip
      // The header's padding is checked as well: nothing may change unseen.
      assert.deepEqual(decodePage(page(old, torn), 7, 3), { states, sequence: 4, slot: 0, badSlots: 1 })
    }),
  )
})

test('a first flush that was torn leaves an empty page, and the next one goes over the torn slot', () => {
  const torn = encodeSlot(7, 3, 1, states).fill(0, 2048)
  const found = decodePage(page(torn, Buffer.alloc(SLOT_BYTES)), 7, 3)
  assert.deepEqual(found, { states: undefined, sequence: 0, slot: 1, badSlots: 1 })
})

test('two damaged slots, and pages of another layer or place, are no page', () => {
  const slot = encodeSlot(7, 3, 4, states)
  const torn = Buffer.from(slot).fill(9, 100, 110)
  assert.equal(decodePage(page(torn, torn), 7, 3), undefined)
  assert.equal(decodePage(page(slot, slot), 8, 3), undefined)
  assert.equal(decodePage(page(slot, slot), 7, 2), undefined)
})

test('blocks of data are counted, and states that nobody writes are found', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(BLOCKS_PER_PAGE - 1), fc.nat(2)), { maxLength: 200 }), (changes) => {
      const bytes = new Uint8Array(STATE_BYTES)
      const model = new Map<number, number>()
      for (const [block, state] of changes) {
        setState(bytes, block, state)
        model.set(block, state)
      }
      for (const [block, state] of model) assert.equal(stateOf(bytes, block), state)
      assert.equal(countData(bytes), [...model.values()].filter((state) => state === DATA).length)
      assert.equal(hasUnknownState(bytes), false)
      setState(bytes, changes[0]?.[0] ?? 0, 3)
      assert.equal(hasUnknownState(bytes), true)
    }),
  )
})
