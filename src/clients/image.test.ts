import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { type Bytes, MiB } from '../kernel/bytes.ts'
import { uncancelled } from '../kernel/call.ts'
import { Conflict, Forbidden, Invalid, NotFound, Unsupported } from '../kernel/errors.ts'
import { silentLogger } from '../kernel/log.ts'
import { createImageClient, type ImageClient } from './image.ts'

interface FakeGlance extends AsyncDisposable {
  readonly client: ImageClient
  /** Ranges that were asked for, `bytes=…`, in order. */
  readonly ranges: string[]
  /** What was uploaded last. */
  uploaded: Buffer
  /** Break the connection of the next download after so many bytes. */
  breakAfter: number | undefined
  /** Whether data comes without its length, in HTTP chunks. */
  chunked: boolean
}

/** A Glance of one image: enough of the wire to prove what the client sends, and how it reads. */
async function fakeGlance(data: Buffer, facts: object = {}): Promise<FakeGlance> {
  const ranges: string[] = []
  const state = { uploaded: Buffer.alloc(0), breakAfter: undefined as number | undefined, chunked: false }
  const server: Server = createServer((request, response) => {
    const { url = '', method, headers } = request
    const refuse = (status: number, message: string) => {
      request.resume()
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(
        JSON.stringify({ message: `${message}<br /><br />\n\n\n`, code: String(status), title: '' }),
      )
    }
    if (headers['x-auth-token'] !== 'own' && headers['x-auth-token'] !== 'alice') return refuse(401, 'who?')
    if (url === '/image/v2/images/secret') return refuse(403, 'not for you')
    if (url === '/image/v2/images' && method === 'POST') return refuse(400, 'bad name')
    if (!url.startsWith('/image/v2/images/known')) return refuse(404, 'No image found')
    if (method === 'PUT') {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => {
        state.uploaded = Buffer.concat(chunks)
        response.writeHead(204).end()
      })
      return
    }
    if (url.endsWith('/members')) {
      const members = [
        { member_id: 'p1', status: 'accepted' },
        { member_id: 'p2', status: 'pending' },
      ]
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ members }))
      return
    }
    if (!url.endsWith('/file')) {
      const image = {
        id: 'known',
        status: 'active',
        size: data.byteLength,
        min_disk: 1,
        min_ram: 2,
        ...facts,
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(image))
      return
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '')
    if (headers.range !== undefined) ranges.push(headers.range)
    const part = range === null ? data : data.subarray(Number(range[1]), Number(range[2]) + 1)
    if (state.chunked) response.writeHead(206)
    else response.writeHead(range === null ? 200 : 206, { 'content-length': part.byteLength })
    if (state.breakAfter !== undefined) {
      response.write(part.subarray(0, state.breakAfter), () => response.destroy())
      state.breakAfter = undefined
      return
    }
    response.end(part)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  const client = createImageClient({ endpoint: `http://127.0.0.1:${port}/image`, token: async () => 'own' })
  return Object.assign(state, {
    client,
    ranges,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  })
}

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
const signal = new AbortController().signal

test('an image is described, whoever asks, and answers become errors of the kernel', async () => {
  await using glance = await fakeGlance(Buffer.alloc(5), {
    name: 'demo',
    disk_format: 'qcow2',
    container_format: 'bare',
    owner: 'p',
    visibility: 'public',
    tags: ['x'],
    hw_disk_bus: 'scsi',
    os_glance_importing_to_stores: '',
    virtual_size: 7,
    checksum: null,
  })
  const facts = await glance.client.show('known', 'alice', signal)
  assert.deepEqual(facts, {
    id: 'known',
    name: 'demo',
    status: 'active',
    visibility: 'public',
    ownerProjectId: 'p',
    sizeBytes: 5,
    virtualSizeBytes: 7,
    diskFormat: 'qcow2',
    containerFormat: 'bare',
    minDiskGib: 1,
    minRamMib: 2,
    checksum: undefined,
    osHashAlgo: undefined,
    osHashValue: undefined,
    locations: [],
    properties: { hw_disk_bus: 'scsi', os_glance_importing_to_stores: '' },
  })
  await assert.rejects(glance.client.show('unknown', undefined, signal), NotFound)
  await assert.rejects(glance.client.show('secret', undefined, signal), (error) => {
    assert.ok(error instanceof Forbidden)
    assert.equal(error.message, 'not for you')
    return true
  })
  await assert.rejects(glance.client.create({ name: 'x' }, undefined, signal), Invalid)
  await glance.client.delete('unknown', undefined, signal)
})

test('who has accepted a shared image is told; where that may not be asked, nobody', async () => {
  await using glance = await fakeGlance(Buffer.alloc(5))
  assert.deepEqual(await glance.client.acceptedBy('known', signal), ['p1'])
  assert.deepEqual(await glance.client.acceptedBy('unknown', signal), [])
})

test('data is downloaded whole and in ranges, and uploaded', async () => {
  const data = randomBytes(3 * MiB + 1)
  await using glance = await fakeGlance(data)
  assert.equal(digest(await collect(glance.client.download('known', undefined, uncancelled()))), digest(data))
  const part = await collect(glance.client.download('known', { start: 5, end: 2_000_000 }, uncancelled()))
  assert.ok(part.equals(data.subarray(5, 2_000_000)))
  await assert.rejects(collect(glance.client.download('unknown', undefined, uncancelled())), NotFound)
  async function* source(): Bytes {
    yield data.subarray(0, 100_000)
    yield data.subarray(100_000)
  }
  for (const sizeBytes of [data.byteLength, undefined]) {
    glance.uploaded = Buffer.alloc(0)
    await glance.client.upload('known', source(), sizeBytes, 'alice', uncancelled())
    assert.equal(digest(glance.uploaded), digest(data))
  }
})

test('a device reads forward through one long range, with several reads in flight', async () => {
  const data = randomBytes(20 * MiB + 700)
  await using glance = await fakeGlance(data)
  await using device = await glance.client.open('known', uncancelled())
  assert.equal(device.sizeBytes, 20 * MiB + 1024)
  const got = Buffer.alloc(device.sizeBytes, 0xff)
  const inFlight: Promise<void>[] = []
  for (let offset = 0; offset < device.sizeBytes; offset += MiB) {
    const read = device.read(offset, got.subarray(offset, offset + MiB), uncancelled())
    inFlight.push(Promise.resolve(read))
    if (inFlight.length >= 8) await inFlight.shift()
  }
  await Promise.all(inFlight)
  assert.ok(got.subarray(0, data.byteLength).equals(data))
  assert.ok(
    got.subarray(data.byteLength).every((byte) => byte === 0),
    'the tail reads as zeroes',
  )
  assert.deepEqual(glance.ranges, [`bytes=0-${data.byteLength - 1}`])
})

test('a service that sends its data in HTTP chunks is read, too', async () => {
  const data = randomBytes(5 * MiB + 100)
  await using glance = await fakeGlance(data)
  glance.chunked = true
  await using device = await glance.client.open('known', uncancelled())
  const got = Buffer.alloc(device.sizeBytes)
  for (let offset = 0; offset < got.byteLength; offset += MiB) {
    await device.read(offset, got.subarray(offset, offset + MiB), uncancelled())
  }
  assert.ok(got.subarray(0, data.byteLength).equals(data))
})

test('a device reads anywhere, in any order', async () => {
  const data = randomBytes(12 * MiB + 512)
  await using glance = await fakeGlance(data)
  await using device = await glance.client.open('known', uncancelled())
  let seed = 12_345
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return seed % limit
  }
  const blocks = device.sizeBytes / 512
  await Promise.all(
    Array.from({ length: 300 }, async () => {
      const start = random(blocks)
      const length = Math.min(1 + random(random(4) === 0 ? 4_000 : 20), blocks - start)
      const into = Buffer.alloc(length * 512)
      await device.read(start * 512, into, uncancelled())
      assert.ok(
        into.equals(data.subarray(start * 512, (start + length) * 512)),
        `${length} blocks at ${start}`,
      )
    }),
  )
})

test('small reads near each other cost one request', async () => {
  await using glance = await fakeGlance(randomBytes(4 * MiB))
  await using device = await glance.client.open('known', uncancelled())
  for (let index = 0; index < 50; index += 1) {
    await device.read(3 * MiB + ((index * 7) % 64) * 512, new Uint8Array(512), uncancelled())
  }
  assert.equal(glance.ranges.length, 1)
})

test('a reader goes on after the connection broke in the middle', async () => {
  const data = randomBytes(6 * MiB)
  await using glance = await fakeGlance(data)
  glance.breakAfter = 2_500_000
  await using device = await glance.client.open('known', uncancelled())
  const got = Buffer.alloc(data.byteLength)
  const reads = Array.from({ length: 6 }, (_, index) =>
    Promise.resolve(device.read(index * MiB, got.subarray(index * MiB, (index + 1) * MiB), uncancelled())),
  )
  await Promise.all(reads)
  assert.ok(got.equals(data))
})

test('a read that is aborted rejects at once, and the others go on', async () => {
  const data = randomBytes(8 * MiB)
  await using glance = await fakeGlance(data)
  await using device = await glance.client.open('known', uncancelled())
  const controller = new AbortController()
  const reason = new Error('enough')
  const into = Buffer.alloc(3 * MiB)
  const first = Promise.resolve(device.read(0, into.subarray(0, MiB), uncancelled()))
  const second = Promise.resolve(device.read(MiB, into.subarray(MiB, 2 * MiB), { signal: controller.signal }))
  const third = Promise.resolve(device.read(2 * MiB, into.subarray(2 * MiB), uncancelled()))
  controller.abort(reason)
  await assert.rejects(second, (error) => error === reason)
  await first
  await third
  assert.ok(into.subarray(0, MiB).equals(data.subarray(0, MiB)))
  assert.ok(into.subarray(2 * MiB).equals(data.subarray(2 * MiB, 3 * MiB)))
})

test('a device refuses what is outside of it, writes, and use after it was closed', async () => {
  await using glance = await fakeGlance(Buffer.alloc(MiB))
  const device = await glance.client.open('known', { signal, log: silentLogger() })
  assert.throws(() => device.read(MiB, new Uint8Array(512), uncancelled()), RangeError)
  assert.throws(() => device.read(1, new Uint8Array(512), uncancelled()), RangeError)
  await assert.rejects(Promise.resolve(device.write(0, new Uint8Array(512), uncancelled())), Unsupported)
  await device[Symbol.asyncDispose]()
  assert.throws(() => device.read(0, new Uint8Array(512), uncancelled()), Conflict)
})
