import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parsePythonLiteral, parsePythonStringMap } from './python-literal.ts'

test('dictionaries and lists are read as Python writes them', () => {
  assert.deepEqual(
    [...(parsePythonStringMap(`{'a': "b", u'c': 'it\\'s', 'n': 1,}`) ?? [])],
    [
      ['a', 'b'],
      ['c', "it's"],
      ['n', '1'],
    ],
  )
  assert.deepEqual(parsePythonLiteral("['x', 'y', None, True, -1.5]"), ['x', 'y', null, true, -1.5])
  assert.deepEqual(parsePythonLiteral('()'), [])
})

test('what is no literal is undefined', () => {
  for (const text of ['', '{', "{'a'}", "{'a': }", "['a' 'b']", 'name', "'open", '{} {}', '['.repeat(50)]) {
    assert.equal(parsePythonLiteral(text), undefined, text)
  }
  assert.equal(parsePythonStringMap('[1]'), undefined)
})

test('no text makes the reader throw', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      parsePythonLiteral(text)
      parsePythonLiteral(`{'${text}': [${text}]}`)
    }),
  )
})
