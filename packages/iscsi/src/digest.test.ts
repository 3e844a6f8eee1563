import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from './digest.ts'

test('CRC32C gives the published check value', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
})

test('CRC32C of 32 zero bytes travels as aa 36 91 8a', () => {
  const wire = Buffer.alloc(4)
  wire.writeUInt32LE(crc32c(Buffer.alloc(32)))
  assert.equal(wire.toString('hex'), 'aa36918a')
})

test('CRC32C can be continued at any byte', () => {
  const bytes = Buffer.from(Array.from({ length: 257 }, (_, index) => (index * 7) & 0xff))
  const whole = crc32c(bytes)
  for (let cut = 0; cut <= bytes.byteLength; cut++) {
    const first = crc32c(bytes, 0, cut)
    assert.equal(crc32c(bytes, cut, bytes.byteLength - cut, first), whole)
  }
})
