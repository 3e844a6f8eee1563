import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requestBase } from './request-base.ts'

const base = (headers: Record<string, string>, parses = true) =>
  requestBase({ protocol: 'http', headers: { host: 'inside:8776', ...headers } }, parses)

test('a proxy says how it was reached, when it is believed', () => {
  const told = {
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'cloud.example',
    'x-forwarded-prefix': '/volume/',
  }
  assert.equal(base(told), 'https://cloud.example/volume')
  assert.equal(base(told, false), 'http://inside:8776')
  assert.equal(base({}), 'http://inside:8776')
})

test('Forwarded comes before the older headers, and its first proxy counts', () => {
  const forwarded = 'for=1.2.3.4;proto=https;Host="cloud.example:443", proto=http;host=between'
  assert.equal(base({ forwarded, 'x-forwarded-host': 'other' }), 'https://cloud.example:443')
  assert.equal(base({ forwarded: 'for=1.2.3.4' }), 'http://inside:8776')
})

test('what is no scheme, host or path does not get into links', () => {
  assert.equal(base({ 'x-forwarded-proto': 'javascript' }), 'http://inside:8776')
  assert.equal(base({ 'x-forwarded-host': 'a"b' }), 'http://localhost')
  assert.equal(base({ 'x-forwarded-prefix': '/a/../"' }), 'http://inside:8776')
})
