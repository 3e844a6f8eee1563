import assert from 'node:assert/strict'
import { test } from 'node:test'
import { crc32c } from '../digest.ts'
import { HEADER_BYTES, padded, setDataSegmentLength } from '../pdu/header.ts'
import { type PduHandler, Receiver } from './receiver.ts'

class Recorder implements PduHandler {
  readonly sinkAt = 3
  readonly seen: { tag: number; data: Buffer; digestOk: boolean }[] = []
  reason: string | undefined
  #tag = 0
  #sink = Buffer.alloc(0)

  header(from: Buffer, at: number, dataLength: number): Buffer {
    this.#tag = from.readUInt32BE(at + 16)
    this.#sink = Buffer.alloc(3 + dataLength)
    return this.#sink
  }

  end(digestOk: boolean): void {
    this.seen.push({ tag: this.#tag, data: this.#sink.subarray(3), digestOk })
  }

  broken(reason: string): void {
    this.reason = reason
  }
}

function wire(tag: number, data: Buffer, digests: boolean): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  setDataSegmentLength(header, data.byteLength)
  header.writeUInt32BE(tag, 16)
  const body = Buffer.alloc(padded(data.byteLength))
  data.copy(body)
  if (!digests) return Buffer.concat([header, body])
  const sum = (bytes: Buffer) => {
    const digest = Buffer.alloc(4)
    digest.writeUInt32LE(crc32c(bytes))
    return digest
  }
  return Buffer.concat([header, sum(header), body, ...(data.byteLength > 0 ? [sum(body)] : [])])
}

const PDUS = [Buffer.from('hello'), Buffer.alloc(0), Buffer.alloc(64, 9), Buffer.from('abc')]

for (const digests of [false, true]) {
  test(`a stream may be cut anywhere, ${digests ? 'with' : 'without'} digests`, () => {
    const stream = Buffer.concat(PDUS.map((data, index) => wire(index, data, digests)))
    for (let step = 1; step <= stream.byteLength; step++) {
      const recorder = new Recorder()
      const receiver = new Receiver(recorder, 64)
      receiver.headerDigest = digests
      receiver.dataDigest = digests
      for (let at = 0; at < stream.byteLength; at += step) {
        receiver.push(stream, at, Math.min(at + step, stream.byteLength))
      }
      assert.deepEqual(
        recorder.seen,
        PDUS.map((data, tag) => ({ tag, data, digestOk: true })),
      )
      assert.equal(receiver.insidePdu, false)
    }
  })
}

test('a data digest that does not match is told, and the stream goes on', () => {
  const stream = Buffer.concat([wire(1, Buffer.from('hello'), true), wire(2, Buffer.from('there'), true)])
  stream.writeUInt8(0x21, HEADER_BYTES + 4)
  const recorder = new Recorder()
  const receiver = new Receiver(recorder, 64)
  receiver.headerDigest = true
  receiver.dataDigest = true
  receiver.push(stream, 0, stream.byteLength)
  assert.deepEqual(
    recorder.seen.map(({ tag, digestOk }) => [tag, digestOk]),
    [
      [1, false],
      [2, true],
    ],
  )
})

test('a header digest that does not match, and data that is too long, break the stream for good', () => {
  const bad = wire(1, Buffer.alloc(0), true)
  bad.writeUInt8(1, 20)
  const cases: [Buffer, boolean][] = [
    [bad, true],
    [wire(1, Buffer.alloc(65), false), false],
  ]
  for (const [stream, digests] of cases) {
    const recorder = new Recorder()
    const receiver = new Receiver(recorder, 64)
    receiver.headerDigest = digests
    receiver.push(stream, 0, stream.byteLength)
    receiver.push(stream, 0, stream.byteLength)
    assert.equal(recorder.seen.length, 0)
    assert.ok(recorder.reason)
  }
})
