import assert from 'node:assert/strict'
import { createHash, randomBytes, randomUUID } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type Bytes, MiB } from '../kernel/bytes.ts'
import { uncancelled } from '../kernel/call.ts'
import { BackendError, Conflict, Invalid, NoCapacity, NotFound, Unauthenticated } from '../kernel/errors.ts'
import { Secret } from '../kernel/secret.ts'
import { fixedSwiftAuth, type SwiftAuth, swiftAuthV1 } from './auth.ts'
import { SwiftClient } from './client.ts'
import { deleteLargeObject, putLargeObject } from './large-object.ts'
import { testSwift, whyNoSwift } from './test-support.ts'

const skip = whyNoSwift() ?? false
const call = uncancelled()

async function* chunksOf(bytes: Uint8Array, length = 70_001): Bytes {
  for (let at = 0; at < bytes.byteLength; at += length) yield Buffer.from(bytes.subarray(at, at + length))
}

async function collect(bytes: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of bytes) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function realAuth(): Promise<SwiftAuth> {
  const { authUrl, user, key } = await testSwift()
  return swiftAuthV1({ authUrl, user, key: new Secret(key) })
}

/** A container of its own on the real Swift, emptied afterwards. */
async function withContainer(body: (client: SwiftClient, container: string) => Promise<void>): Promise<void> {
  await using client = new SwiftClient({ auth: await realAuth() })
  const container = `test-${randomUUID()}`
  await client.putContainer(container, {}, call)
  try {
    await body(client, container)
  } finally {
    const names: string[] = []
    for await (const { name } of client.list(container, '', call)) names.push(name)
    for (const name of names) await client.deleteObject(container, name, call)
    await client.deleteContainer(container, call)
  }
}

/** A Swift that does what a real one only does on a bad day. */
async function withFaultySwift(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  body: (client: SwiftClient) => Promise<void>,
): Promise<void> {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  const auth = fixedSwiftAuth({ storageUrl: `http://127.0.0.1:${port}/v1/a`, token: 't' })
  try {
    await using client = new SwiftClient({ auth })
    await body(client)
  } finally {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
}

test('an object is kept, described, served whole and in ranges, listed and deleted', { skip }, async () => {
  await withContainer(async (client, container) => {
    const bytes = randomBytes(3 * MiB + 7)
    const md5 = createHash('md5').update(bytes).digest('hex')
    for (const sizeBytes of [bytes.byteLength, undefined]) {
      assert.equal(await client.putObject(container, 'a/b c?ü', chunksOf(bytes), { sizeBytes }, call), md5)
    }
    await client.postObject(container, 'a/b c?ü', { 'x-object-meta-kind': 'test' }, call)
    const facts = await client.headObject(container, 'a/b c?ü', call)
    assert.equal(facts.sizeBytes, bytes.byteLength)
    assert.equal(facts.etag, md5)
    assert.equal(facts.headers['x-object-meta-kind'], 'test')
    assert.ok((await collect(client.getObject(container, 'a/b c?ü', undefined, call))).equals(bytes))
    const part = await collect(client.getObject(container, 'a/b c?ü', { start: 5, end: 2_000_000 }, call))
    assert.ok(part.equals(bytes.subarray(5, 2_000_000)))
    const names: string[] = []
    for await (const { name, sizeBytes, hash } of client.list(container, 'a/', call)) {
      assert.equal(sizeBytes, bytes.byteLength)
      assert.equal(hash, md5)
      names.push(name)
    }
    assert.deepEqual(names, ['a/b c?ü'])
    await assert.rejects(client.deleteContainer(container, call), Conflict)
    await client.deleteObject(container, 'a/b c?ü', call)
    await client.deleteObject(container, 'a/b c?ü', call)
    await assert.rejects(client.headObject(container, 'a/b c?ü', call), NotFound)
    await assert.rejects(collect(client.getObject(container, 'a/b c?ü', undefined, call)), NotFound)
  })
})

test('a stream of another length than was said, or that breaks, leaves no object', { skip }, async () => {
  await withContainer(async (client, container) => {
    const bytes = randomBytes(MiB)
    for (const sizeBytes of [bytes.byteLength - 1, bytes.byteLength + 1]) {
      await assert.rejects(client.putObject(container, 'x', chunksOf(bytes), { sizeBytes }, call), Invalid)
    }
    const broken = new Error('the client hung up')
    async function* breaking(): Bytes {
      yield randomBytes(MiB)
      throw broken
    }
    await assert.rejects(client.putObject(container, 'x', breaking(), {}, call), (error) => error === broken)
    await assert.rejects(client.headObject(container, 'x', call), NotFound)
  })
})

for (const manifest of ['dynamic', 'static'] as const) {
  test(`a ${manifest} large object of unknown length is kept, served and deleted`, { skip }, async () => {
    await withContainer(async (client, container) => {
      const spoolDirectory = await mkdtemp(join(tmpdir(), 'swift-spool-'))
      const bytes = randomBytes(5 * MiB)
      const object = { container, name: 'big', segmentBytes: 2 * MiB, manifest }
      assert.equal(await putLargeObject(client, object, chunksOf(bytes), call), bytes.byteLength)
      assert.equal((await client.headObject(container, 'big', call)).sizeBytes, bytes.byteLength)
      assert.ok((await collect(client.getObject(container, 'big', undefined, call))).equals(bytes))
      const part = await collect(client.getObject(container, 'big', { start: 1, end: 4 * MiB }, call))
      assert.ok(part.equals(bytes.subarray(1, 4 * MiB)))
      await deleteLargeObject(client, container, 'big', call)
      await deleteLargeObject(client, container, 'big', call)

      const spooled = { ...object, spoolDirectory }
      await putLargeObject(client, spooled, chunksOf(bytes.subarray(0, 4 * MiB)), call)
      assert.equal((await client.headObject(container, 'big', call)).sizeBytes, 4 * MiB)
      assert.deepEqual(await readdir(spoolDirectory), [])
      await rm(spoolDirectory, { recursive: true })
      await deleteLargeObject(client, container, 'big', call)
      for await (const { name } of client.list(container, '', call)) assert.fail(`${name} was left`)
    })
  })
}

test('a large object that breaks leaves no segment', { skip }, async () => {
  await withContainer(async (client, container) => {
    const broken = new Error('the client hung up')
    async function* breaking(): Bytes {
      yield randomBytes(3 * MiB)
      throw broken
    }
    const object = { container, name: 'big', segmentBytes: MiB, manifest: 'dynamic' } as const
    await assert.rejects(putLargeObject(client, object, breaking(), call), (error) => error === broken)
    for await (const { name } of client.list(container, '', call)) assert.fail(`${name} was left`)
  })
})

test('a key that is wrong is told; a token that is refused is replaced', { skip }, async () => {
  const { authUrl, user } = await testSwift()
  await using wrong = new SwiftClient({ auth: swiftAuthV1({ authUrl, user, key: new Secret('no') }) })
  await assert.rejects(wrong.headContainer('c', call), Unauthenticated)

  const real = await realAuth()
  const refusals: string[] = []
  await using client = new SwiftClient({
    auth: {
      async access(signal, refused) {
        if (refused !== undefined) refusals.push(refused)
        const access = await real.access(signal)
        return refused === undefined ? { ...access, token: 'AUTH_tk_expired' } : access
      },
    },
  })
  await assert.rejects(client.headContainer(randomUUID(), call), NotFound)
  assert.deepEqual(refusals, ['AUTH_tk_expired'])
})

test('a server that stumbles is asked again, and one that is full is not', async () => {
  const seen: string[] = []
  await withFaultySwift(
    (request, response) => {
      request.resume()
      seen.push(`${request.method} ${request.url}`)
      if (request.url?.endsWith('/full')) response.writeHead(507).end()
      else if (request.url?.endsWith('/down')) response.writeHead(503).end()
      else response.writeHead(seen.length < 3 ? 503 : 201, { etag: '"abc"' }).end()
    },
    async (client) => {
      assert.equal(await client.putObject('c', 'o', Buffer.from('x'), {}, call), 'abc')
      assert.equal(seen.length, 3)
      await assert.rejects(client.putObject('c', 'full', chunksOf(Buffer.from('x')), {}, call), NoCapacity)
      await assert.rejects(client.putObject('c', 'down', chunksOf(Buffer.from('x')), {}, call), BackendError)
      const writes = seen.filter((line) => line.startsWith('PUT'))
      assert.equal(writes.length, 5, 'a stream is sent once')
    },
  )
})

test('a download goes on where the connection broke, unless the object is another by then', async () => {
  const bytes = randomBytes(3 * MiB)
  let etag = 'one'
  await withFaultySwift(
    (request, response) => {
      const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
      response.writeHead(start === 0 ? 200 : 206, { 'content-length': bytes.byteLength - start, etag })
      if (start > 0) response.end(bytes.subarray(start))
      else response.write(bytes.subarray(0, MiB), () => setTimeout(() => response.destroy(), 50))
      if (request.url?.endsWith('/changing')) etag = 'two'
    },
    async (client) => {
      assert.ok((await collect(client.getObject('c', 'o', undefined, call))).equals(bytes))
      await assert.rejects(collect(client.getObject('c', 'changing', undefined, call)), /was replaced/)
    },
  )
})
