import assert from 'node:assert/strict'
import { test } from 'node:test'
import { IscsiError } from '../errors.ts'
import { framePdu, PduReceiver } from './pdu-receiver.ts'

function header(opcode: number, dataLength: number, additionalWords = 0): Buffer {
  const bytes = Buffer.alloc(48)
  bytes.writeUInt32BE(dataLength, 4)
  bytes.writeUInt8(opcode, 0)
  bytes.writeUInt8(additionalWords, 4)
  return bytes
}

const lengths = [0, 1, 3, 4, 5, 511, 512, 8191, 8192, 0, 0, 7]

function stream(digests: boolean): Buffer {
  const pdus = lengths.map((length, index) => {
    const parts = framePdu(header(index, length), Buffer.alloc(length, index + 1), digests, digests)
    return Buffer.concat(parts)
  })
  return Buffer.concat(pdus)
}

for (const digests of [false, true]) {
  test(`PDUs come out whole however the stream is cut, ${digests ? 'with' : 'without'} digests`, () => {
    const bytes = stream(digests)
    for (const cut of [1, 2, 47, 48, 49, 1000, bytes.byteLength]) {
      const seen: number[] = []
      const receiver = new PduReceiver({
        destination: (_head, length) => (length % 2 === 0 ? Buffer.alloc(length + 10) : undefined),
        received(head, data) {
          assert.equal(head.readUInt8(0), seen.length)
          assert.ok(data.every((byte) => byte === seen.length + 1))
          seen.push(data.byteLength)
        },
      })
      receiver.headerDigest = digests
      receiver.dataDigest = digests
      // One buffer for all chunks, as the socket has it: nothing may be kept by reference.
      const chunk = Buffer.alloc(cut)
      for (let at = 0; at < bytes.byteLength; at += cut) {
        const count = bytes.copy(chunk, 0, at, at + cut)
        receiver.push(chunk, count)
        chunk.fill(0xff)
      }
      assert.deepEqual(seen, lengths)
    }
  })
}

test('a flipped bit anywhere is noticed when digests are on', () => {
  const pdu = Buffer.concat(framePdu(header(1, 6), Buffer.from('abcdef'), true, true))
  for (let at = 0; at < pdu.byteLength; at += 1) {
    const damaged = Buffer.from(pdu)
    damaged.writeUInt8(damaged.readUInt8(at) ^ 0x10, at)
    let received = 0
    const receiver = new PduReceiver({
      destination: () => undefined,
      received: () => {
        received += 1
      },
    })
    receiver.headerDigest = true
    receiver.dataDigest = true
    try {
      receiver.push(Buffer.concat([damaged, Buffer.alloc(4096)]), damaged.byteLength + 4096)
      assert.fail(`the damage at ${at} passed`)
    } catch (error) {
      assert.ok(error instanceof IscsiError && error.code === 'protocol', String(error))
    }
    assert.equal(received, 0)
  }
})

test('a segment longer than declared ends the connection before a buffer is asked for', () => {
  const receiver = new PduReceiver({
    destination: () => assert.fail('a buffer was asked for'),
    received: () => assert.fail('it was taken'),
  })
  assert.throws(() => receiver.push(header(0x25, 8193), 48), IscsiError)
  const later = new PduReceiver({ destination: () => undefined, received: () => {} })
  assert.throws(() => later.push(header(0x25, 0, 61), 48), IscsiError)
})

test('additional header segments are skipped', () => {
  const seen: string[] = []
  const receiver = new PduReceiver({
    destination: () => undefined,
    received: (_head, data) => seen.push(Buffer.from(data).toString()),
  })
  const bytes = Buffer.concat([header(1, 4, 3), Buffer.alloc(12, 0xee), Buffer.from('data')])
  for (const byte of bytes) receiver.push(Buffer.from([byte]), 1)
  assert.deepEqual(seen, ['data'])
})
