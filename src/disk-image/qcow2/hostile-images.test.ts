import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import { Invalid } from '../../kernel/errors.ts'
import type { RandomReader } from '../random-reader.ts'
import { openQcow2 } from './device.ts'

const cancel = { signal: new AbortController().signal }
const clusterBytes = 65536

/** A small image written by hand: header, first-level table, one second-level table, one data cluster. */
function image(change: (bytes: Buffer) => void = () => {}): Buffer {
  const bytes = Buffer.alloc(4 * clusterBytes)
  bytes.writeUInt32BE(0x514649fb, 0)
  bytes.writeUInt32BE(3, 4)
  bytes.writeUInt32BE(16, 20)
  bytes.writeBigUInt64BE(1024n * 1024n, 24)
  bytes.writeUInt32BE(1, 36)
  bytes.writeBigUInt64BE(BigInt(clusterBytes), 40)
  bytes.writeUInt32BE(104, 100)
  bytes.writeBigUInt64BE((1n << 63n) | BigInt(2 * clusterBytes), clusterBytes)
  bytes.writeBigUInt64BE((1n << 63n) | BigInt(3 * clusterBytes), 2 * clusterBytes)
  bytes.fill(0x5a, 3 * clusterBytes)
  change(bytes)
  return bytes
}

class BytesReader implements RandomReader {
  readonly sizeBytes: number
  disposed = false
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
    this.sizeBytes = bytes.byteLength
  }

  read(offset: number, into: Uint8Array): undefined {
    if (offset < 0 || offset + into.byteLength > this.sizeBytes) throw new RangeError('outside the source')
    into.set(this.#bytes.subarray(offset, offset + into.byteLength))
    return undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true
  }
}

async function readAll(bytes: Buffer): Promise<Buffer> {
  await using device = await openQcow2(new BytesReader(bytes), cancel)
  const into = Buffer.alloc(Math.min(device.sizeBytes, 1024 * 1024), 0xee)
  await device.read(0, into, cancel)
  await device.extents?.(0, device.sizeBytes, cancel)
  return into
}

test('the image written by hand is read: one cluster of data, the rest zeroes', async () => {
  const bytes = await readAll(image())
  assert.ok(bytes.subarray(0, clusterBytes).every((byte) => byte === 0x5a))
  assert.ok(bytes.subarray(clusterBytes).every((byte) => byte === 0))
})

const l2At = 2 * clusterBytes
const faults: Record<string, (bytes: Buffer) => void> = {
  'is not qcow2': (bytes) => bytes.writeUInt32BE(0, 0),
  'has version 4': (bytes) => bytes.writeUInt32BE(4, 4),
  'has a backing file': (bytes) => bytes.writeBigUInt64BE(512n, 8),
  'has clusters of 256 bytes': (bytes) => bytes.writeUInt32BE(8, 20),
  'has clusters of 4 MiB': (bytes) => bytes.writeUInt32BE(22, 20),
  'has clusters of 2^4294967295 bytes': (bytes) => bytes.writeUInt32BE(0xffffffff, 20),
  'claims 8 EiB': (bytes) => bytes.writeBigUInt64BE(1n << 63n, 24),
  'claims a first-level table longer than the file': (bytes) => {
    bytes.writeBigUInt64BE(1n << 50n, 24)
    bytes.writeUInt32BE(4 * 1024 * 1024, 36)
  },
  'has a first-level table too small for its size': (bytes) => bytes.writeUInt32BE(0, 36),
  'has a first-level table past the end': (bytes) => bytes.writeBigUInt64BE(1n << 40n, 40),
  'has a first-level table inside a cluster': (bytes) => bytes.writeBigUInt64BE(65536n + 512n, 40),
  'is encrypted': (bytes) => bytes.writeUInt32BE(1, 32),
  'has an external data file': (bytes) => bytes.writeBigUInt64BE(4n, 72),
  'has an unknown incompatible feature': (bytes) => bytes.writeBigUInt64BE(1n << 40n, 72),
  'has a compression type but a header too short for it': (bytes) => bytes.writeBigUInt64BE(8n, 72),
  'has a second-level table past the end': (bytes) => bytes.writeBigUInt64BE(1n << 40n, clusterBytes),
  'has a second-level table cut by the end': (bytes) => bytes.writeBigUInt64BE(262144n, clusterBytes),
  'has a second-level table inside a cluster': (bytes) => bytes.writeBigUInt64BE(512n, clusterBytes),
  'has a cluster past the end': (bytes) => bytes.writeBigUInt64BE(1n << 45n, l2At),
  'has a cluster off its boundary': (bytes) => bytes.writeBigUInt64BE(65536n + 512n, l2At),
  'has a zero cluster in version 2': (bytes) => {
    bytes.writeUInt32BE(2, 4)
    bytes.writeBigUInt64BE(1n, l2At)
  },
  'has a compressed cluster past the end': (bytes) => bytes.writeBigUInt64BE((1n << 62n) | (1n << 45n), l2At),
  'has a compressed cluster that is not compressed': (bytes) =>
    bytes.writeBigUInt64BE((1n << 62n) | BigInt(3 * clusterBytes), l2At),
  'has a compressed cluster that is too long': (bytes) => {
    deflateRawSync(Buffer.alloc(2 * clusterBytes)).copy(bytes, 3 * clusterBytes)
    bytes.writeBigUInt64BE((1n << 62n) | BigInt(3 * clusterBytes), l2At)
  },
  'has a compressed cluster that is too short': (bytes) => {
    deflateRawSync(Buffer.alloc(512)).copy(bytes, 3 * clusterBytes)
    bytes.writeBigUInt64BE((1n << 62n) | BigInt(3 * clusterBytes), l2At)
  },
  'has a subcluster both zero and allocated': (bytes) => {
    bytes.writeBigUInt64BE(1n << 4n, 72)
    bytes.writeUInt32BE(1, l2At + 8)
    bytes.writeUInt32BE(1, l2At + 12)
  },
  'has a subcluster allocated nowhere': (bytes) => {
    bytes.writeBigUInt64BE(1n << 4n, 72)
    bytes.writeBigUInt64BE(0n, l2At)
    bytes.writeUInt32BE(1, l2At + 12)
  },
}
for (const [name, change] of Object.entries(faults)) {
  test(`an image that ${name} is refused`, async () => {
    await assert.rejects(readAll(image(change)), Invalid)
  })
}

test('a table entry of a real file that was cut off is refused, and the source is closed', async () => {
  const whole = image()
  await assert.rejects(readAll(whole.subarray(0, 3 * clusterBytes)), Invalid)
  const source = new BytesReader(whole.subarray(0, 50))
  await assert.rejects(openQcow2(source, cancel), Invalid)
  assert.ok(source.disposed)
})

test('the last cluster may be cut short by the end of the file: the rest reads as zeroes', async () => {
  const bytes = await readAll(image().subarray(0, 3 * clusterBytes + 1000))
  assert.ok(bytes.subarray(0, 1000).every((byte) => byte === 0x5a))
  assert.ok(bytes.subarray(1000).every((byte) => byte === 0))
})

test('an image whose tables point at each other and at itself ends, and writing is refused', async () => {
  const bytes = await readAll(image((own) => own.writeBigUInt64BE(BigInt(2 * clusterBytes), l2At)))
  assert.equal(bytes.readBigUInt64BE(0), BigInt(2 * clusterBytes))
  await using device = await openQcow2(new BytesReader(image()), cancel)
  await assert.rejects(async () => device.write(0, Buffer.alloc(512), cancel), /reading only/)
})

test('images with random damage never do worse than be refused', async () => {
  let state = 99
  const random = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state % below
  }
  let refused = 0
  for (let round = 0; round < 400; round += 1) {
    const bytes = image((own) => {
      for (let hits = random(4) + 1; hits > 0; hits -= 1) {
        const [start, length] = [[0, 112] as const, [clusterBytes, 16] as const, [l2At, 128] as const][
          random(3)
        ] ?? [0, 1]
        own.writeUInt8(random(256), start + random(length))
      }
    })
    await readAll(bytes).catch((error: unknown) => {
      assert.ok(error instanceof Invalid, String(error))
      refused += 1
    })
  }
  assert.ok(refused > 100, `only ${refused} were refused`)
})
