import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ApiError } from '../errors.ts'
import { parseFilter } from './filter.ts'

const item = { name: 'OS-data-9b02', size: 10, admin_state: 'online', causes: ['a', 'b'] }
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

test('short forms mean what the long ones do', () => {
  for (const text of [
    'name=OS-data-9b02',
    'name==OS-data-9b02',
    'name!=x',
    'name=match=.*9b02',
    'size=gt=9',
    'size>=10',
    'size<11',
    'size=10&admin_state=online',
    'size=1|admin_state=online',
    '(size=1|size=10)&name=match=OS.*',
    'or(size=1,admin_state=online)',
    'not(size=1)',
    'match(name,OS-(data|meta).*)|size=1',
  ]) {
    assert.equal(holds(text), true, text)
  }
  for (const text of ['name=OS', 'size=1&admin_state=online', 'size>10', 'size=1|size=2', 'not(size=10)']) {
    assert.equal(holds(text), false, text)
  }
})

test('lists and texts contain, and lists of values hold or leave out', () => {
  assert.deepEqual(
    ['contains(causes,b)', 'contains(causes,c)', 'contains(name,data)', 'excludes(causes,c)'].map(holds),
    [true, false, true, true],
  )
  assert.deepEqual(['out(size,(1,2))', 'out(size,(1,10))', 'size=in=(1,10)'].map(holds), [true, false, true])
})

test('what is no filter, or would take too long, is refused', () => {
  for (const text of ['', 'name', 'match(name)', 'like(name,x)', 'match(name,()', 'match(name,(a+)+)']) {
    assert.throws(() => holds(text), ApiError, text)
  }
  assert.throws(() => holds(`match(name,${'.*a'.repeat(9)})`), ApiError)
})
