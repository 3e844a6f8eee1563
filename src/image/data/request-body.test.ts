import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { giveBack } from '../../kernel/bytes.ts'
import { bodyOf, ClientGone } from './request-body.ts'

const chunkBytes = 64 * 1024

/** A client that sends chunks as long as it is not told to wait. */
function client(limit: number): { body: PassThrough; sent: () => number } {
  const body = new PassThrough({ highWaterMark: chunkBytes })
  let sent = 0
  const send = () => {
    while (sent < limit) {
      sent += 1
      if (!body.write(Buffer.alloc(chunkBytes, sent))) {
        body.once('drain', send)
        return
      }
    }
    body.end()
  }
  send()
  return { body, sent: () => sent }
}

test('a body arrives whole and in order, however its consumer dawdles', async () => {
  const data = randomBytes(3_000_000)
  const body = new PassThrough()
  for (let position = 0; position < data.byteLength; position += 50_000) {
    body.write(data.subarray(position, position + 50_000))
  }
  body.end()
  const chunks: Uint8Array[] = []
  for await (const chunk of bodyOf(body, 1_000)) {
    if (chunks.length % 7 === 0) await sleep(1)
    chunks.push(chunk)
  }
  assert.ok(Buffer.concat(chunks).equals(data))
})

test('a consumer may give the memory of chunks back, and the sender keeps its own', async () => {
  const data = randomBytes(100_000)
  const owned = Buffer.from(new Uint8Array(data).buffer)
  const body = new PassThrough()
  body.end(owned)
  for await (const chunk of bodyOf(body, 1_000)) giveBack(chunk)
  assert.ok(owned.equals(data))
})

test('a client is told to wait while nobody pulls', async () => {
  const { body, sent } = client(1_000)
  const chunks = bodyOf(body, 0)
  await chunks[Symbol.asyncIterator]().next()
  await sleep(50)
  assert.ok(sent() < 40, `${sent()} chunks of 64 KiB were taken`)
  let rest = 0
  for await (const chunk of chunks) rest += chunk.byteLength
  assert.equal(rest, 999 * chunkBytes)
})

test('leaving the loop stops the flow, keeps the stream and leaves no listener behind', async () => {
  const { body } = client(1_000)
  for await (const chunk of bodyOf(body, 1_000)) {
    assert.equal(chunk.byteLength, chunkBytes)
    break
  }
  assert.equal(body.destroyed, false)
  assert.ok(body.isPaused())
  assert.equal(body.listenerCount('data'), 0)
  assert.equal(body.listenerCount('error'), 0)
  body.resume() // the rest can still be thrown away
  await new Promise((resolve) => body.once('end', resolve))
})

test('only a client that is waited for can stall', async () => {
  const body = new PassThrough()
  body.write('first')
  const chunks = bodyOf(body, 50)
  const iterator = chunks[Symbol.asyncIterator]()
  assert.equal((await iterator.next()).done, false)
  await sleep(150) // we are slow, not the client
  body.write('second')
  assert.deepEqual((await iterator.next()).value, new Uint8Array(Buffer.from('second')))
  await assert.rejects(iterator.next(), (error) => {
    assert.ok(error instanceof ClientGone)
    assert.match(error.message, /nothing for too long/)
    return true
  })
})

test('a client that sends little by little does not stall', async () => {
  const body = new PassThrough()
  const sending = (async () => {
    for (let piece = 0; piece < 12; piece += 1) {
      body.write('little')
      await sleep(100)
    }
    body.end()
  })()
  const chunks: Uint8Array[] = []
  for await (const chunk of bodyOf(body, 1_000)) chunks.push(chunk)
  await sending
  assert.equal(Buffer.concat(chunks).toString(), 'little'.repeat(12))
})

test('a body that breaks, or was broken before it is read, is told as a hang-up', async () => {
  const reading = new PassThrough()
  reading.write('begun')
  const iterator = bodyOf(reading, 0)[Symbol.asyncIterator]()
  await iterator.next()
  const next = iterator.next()
  reading.destroy(new Error('reset'))
  await assert.rejects(next, ClientGone)

  const closed = new PassThrough()
  closed.destroy()
  await assert.rejects(bodyOf(closed, 0)[Symbol.asyncIterator]().next(), ClientGone)

  const short = Object.assign(new PassThrough(), { complete: false })
  short.end('less than announced')
  await assert.rejects(async () => {
    for await (const chunk of bodyOf(short, 0)) assert.ok(chunk.byteLength > 0)
  }, ClientGone)
})
