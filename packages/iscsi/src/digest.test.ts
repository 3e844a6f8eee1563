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

test('CRC32C is the same wherever the bytes lie and however many they are', () => {
  const memory = Buffer.from(Array.from({ length: 4096 }, (_, index) => (index * 131) & 0xff))
  const oneByOne = (at: number, length: number): number => {
    let crc = 0
    for (let i = 0; i < length; i++) crc = crc32c(memory, at + i, 1, crc)
    return crc
  }
  for (let at = 0; at < 5; at++) {
    for (const length of [0, 1, 15, 48, 511, 512, 513, 527, 1000, 4000]) {
      assert.equal(crc32c(memory, at, length), oneByOne(at, length), `${length} bytes at ${at}`)
    }
  }
})
