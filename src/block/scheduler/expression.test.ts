import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Invalid } from '../../kernel/errors.ts'
import { evaluate } from './expression.ts'
import { answersQuery } from './json-query.ts'

const scope = {
  stats: { free_capacity_gb: 80, total_capacity_gb: 100, 'vendor:cap': '5' },
  volume: { size: 4 },
  extra: { tier: 'gold', count: '3' },
}

test('functions of backends are evaluated as upstream does', () => {
  const value = (expression: string) => evaluate(expression, scope)
  assert.equal(value('volume.size < 10'), true)
  assert.equal(value('(volume.size < 5) * 100'), 100)
  assert.equal(value('(volume.size > 5) ? 100 : 50'), 50)
  assert.equal(value('2 + 3 * 4 ^ 2 / 8 - -1'), 9)
  assert.equal(value('abs(-5) + max(1, 2, 3) - min(4, volume.size)'), 4)
  assert.equal(value('volume.size == 4 and not (stats.free_capacity_gb < 10)'), true)
  assert.equal(value('volume.size == 5 || extra.count >= 3'), true)
  assert.equal(value("extra.tier == 'gold'"), true)
  assert.equal(value('stats.vendor:cap <> 6'), true)
  assert.equal(value('100 * stats.free_capacity_gb / stats.total_capacity_gb'), 80)
})

test('an expression that cannot be read or names nothing is refused', () => {
  for (const wrong of [
    '',
    '1 +',
    '(1',
    '1 2',
    'volume.none < 1',
    'volume',
    '1 / 0',
    "'a' + 1",
    'f(1)',
    '1 # 2',
  ]) {
    assert.throws(() => evaluate(wrong, scope), Invalid, wrong)
  }
})

test('a query hint asks for what pools report', () => {
  const pool = { free_capacity_gb: 80, capabilities: { tier: 'gold' } }
  assert.equal(answersQuery('["=", "$capabilities.tier", "gold"]', pool), true)
  assert.equal(
    answersQuery('["and", [">=", "$free_capacity_gb", 50], ["not", ["<", "$free_capacity_gb", 60]]]', pool),
    true,
  )
  assert.equal(answersQuery('["in", "$capabilities.tier", "silver", "bronze"]', pool), false)
  assert.throws(() => answersQuery('nonsense', pool), Invalid)
  assert.throws(() => answersQuery('["like", 1, 2]', pool), Invalid)
})
