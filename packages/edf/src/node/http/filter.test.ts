import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../errors.ts'
import { parseFilter } from './filter.ts'

const item = { name: 'OS-data-9b02', size: 10, admin_state: 'online' }
const holds = (text: string) => parseFilter(text).matches((name) => Reflect.get(item, name))

test('match takes a regular expression that has to cover the whole value', () => {
  for (const text of [
    '.*9b02.*',
    'OS-data.*',
    '.*9b02',
    'OS-data-9b02',
    'OS-[a-z]+-.*',
    '.*-(data|meta)-.*',
  ]) {
    assert.equal(holds(`match(name,${text})`), true, text)
  }
  for (const text of ['9b02', 'OS', '.*9b03.*', 'data.*'])
    assert.equal(holds(`match(name,${text})`), false, text)
  assert.equal(holds('match(missing,.*)'), true)
  assert.equal(holds('match(missing,.+)'), false)
})

test('a dot in the text of a match stands for any character', () => {
  assert.equal(holds('match(name,.*OS.data.*)'), true)
})

test('comparisons count numbers as numbers, and combine', () => {
  assert.equal(holds('gt(size,9)'), true)
  assert.equal(holds('le(size,9)'), false)
  assert.equal(holds('and(eq(admin_state,online),ne(name,x))'), true)
  assert.equal(holds('or(eq(size,1),in(size,(2,10)))'), true)
  assert.equal(holds('not(match(name,OS-(data|meta).*))'), false)
})

test('what is no filter, or would take too long, is refused', () => {
  for (const text of ['', 'name', 'match(name)', 'like(name,x)', 'match(name,()', 'match(name,(a+)+)']) {
    assert.throws(() => holds(text), ApiError, text)
  }
  assert.throws(() => holds(`match(name,${'.*a'.repeat(9)})`), ApiError)
})
