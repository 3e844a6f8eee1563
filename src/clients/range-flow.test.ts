import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { BackendError } from '../kernel/errors.ts'
import type { FlowReceiver } from './byte-flow.ts'
import { openRangeFlow } from './range-flow.ts'

const signal = new AbortController().signal

/** Answers each connection's request as told, byte by byte if need be. */
async function serve(answer: (socket: Socket, request: string) => void) {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', (request) => answer(socket, request.toString('latin1')))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo // it listens on TCP
  return {
    origin: new URL(`http://127.0.0.1:${port}`),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/** Asks for a range and keeps what comes. */
function ask(origin: URL, length: number, take?: FlowReceiver['take']) {
  const chunks: Buffer[] = []
  const result = { chunks, unsuitable: false, bytes: 0 }
  const done = Promise.withResolvers<unknown>()
  const receiver: FlowReceiver = {
    take(chunk) {
      chunks.push(Buffer.from(chunk))
      result.bytes += chunk.byteLength
      if (result.bytes === length) done.resolve(undefined)
      return take?.(chunk) ?? true
    },
    ended: done.resolve,
  }
  const request = {
    origin,
    path: '/v2/images/an%20id/file',
    range: { start: 100, end: 100 + length },
    headers: async () => ({ 'x-auth-token': 'secret' }),
    timeoutMs: 10_000,
    unsuitable: () => {
      result.unsuitable = true
    },
  }
  const flow = openRangeFlow(request, receiver, signal)
  return Object.assign(result, { flow, done: done.promise })
}

test('a range is asked for and received, however its bytes are cut', async () => {
  const data = randomBytes(300_000)
  let asked = ''
  await using server = await serve(async (socket, request) => {
    asked = request
    const head = `HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 100-300099/900000\r\ncontent-length: 300000\r\n\r\n`
    socket.setNoDelay(true)
    for (const cut of [head.slice(0, 7), head.slice(7, -1), head.slice(-1)]) {
      socket.write(cut)
      await sleep(2)
    }
    socket.write(data.subarray(0, 1))
    await sleep(2)
    socket.end(data.subarray(1))
  })
  const { done, chunks, flow } = ask(server.origin, 300_000)
  assert.equal(await done, undefined)
  assert.ok(Buffer.concat(chunks).equals(data))
  assert.match(asked, /^GET \/v2\/images\/an%20id\/file HTTP\/1\.1\r\n/)
  assert.match(asked, /\r\nrange: bytes=100-300099\r\n/)
  assert.match(asked, /\r\nx-auth-token: secret\r\n/)
  flow.close()
})

test('a receiver that wants no more is given nothing until it goes on', async () => {
  const data = randomBytes(2_000_000)
  await using server = await serve((socket) => {
    socket.write('HTTP/1.1 206 \r\ncontent-length: 2000000\r\n\r\n')
    socket.end(data)
  })
  let standing = false
  let violations = 0
  const asked = ask(server.origin, 2_000_000, () => {
    if (standing) violations += 1
    standing = true
    setTimeout(() => {
      standing = false
      asked.flow.resume()
    }, 1)
    return false
  })
  assert.equal(await asked.done, undefined)
  assert.equal(violations, 0)
  assert.ok(asked.chunks.length > 3)
  assert.ok(Buffer.concat(asked.chunks).equals(data))
})

for (const [what, head] of [
  ['in HTTP chunks', 'HTTP/1.1 206 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  ['that is an error', 'HTTP/1.1 404 Not Found\r\ncontent-length: 10\r\n\r\n0123456789'],
  ['with the whole instead of the range', 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n0123456789'],
  ['of another length', 'HTTP/1.1 206 OK\r\ncontent-length: 9\r\n\r\n012345678'],
  [
    'of another range',
    'HTTP/1.1 206 OK\r\ncontent-length: 10\r\ncontent-range: bytes 0-9/99\r\n\r\n0123456789',
  ],
  ['with two lengths', 'HTTP/1.1 206 OK\r\ncontent-length: 10\r\ncontent-length: 9\r\n\r\n0123456789'],
  ['that is longer than announced', 'HTTP/1.1 206 OK\r\ncontent-length: 10\r\n\r\n0123456789ABC'],
  ['that is compressed', 'HTTP/1.1 206 OK\r\ncontent-length: 10\r\ncontent-encoding: gzip\r\n\r\n0123456789'],
  ['without an end of its head', `HTTP/1.1 206 OK\r\nx: ${'y'.repeat(40_000)}`],
] as const) {
  test(`an answer ${what} is left to a real client`, async () => {
    await using server = await serve((socket) => socket.write(head))
    const asked = ask(server.origin, 10)
    assert.ok((await asked.done) instanceof BackendError)
    assert.equal(asked.unsuitable, true)
    assert.equal(asked.bytes, 0)
  })
}

test('data that breaks off is worth another try', async () => {
  await using server = await serve((socket) =>
    socket.end('HTTP/1.1 206 OK\r\ncontent-length: 10\r\n\r\n01234'),
  )
  const asked = ask(server.origin, 10)
  const error = await asked.done
  assert.ok(error instanceof BackendError)
  assert.notEqual(error.retryAfterMs, undefined)
  assert.equal(asked.unsuitable, false)
})

test('a flow that is closed hears nothing more and hangs up', async () => {
  const gone = Promise.withResolvers<void>()
  await using server = await serve((socket) => {
    socket.on('close', () => gone.resolve())
    socket.write('HTTP/1.1 206 OK\r\ncontent-length: 10\r\n\r\n01234')
  })
  const arrived = Promise.withResolvers<void>()
  const asked = ask(server.origin, 10, () => {
    arrived.resolve()
    return true
  })
  await arrived.promise
  asked.flow.close()
  await gone.promise
  assert.equal(asked.bytes, 5)
})
