import assert from 'node:assert/strict'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { type Bytes, counted, limitBytes, regrouped } from './bytes.ts'
import { sleep, uncancelled, withTimeout } from './call.ts'
import { BackendError, Invalid, messageOf, NotFound, StorageError } from './errors.ts'
import { Secret } from './secret.ts'

async function* chunks(...sizes: number[]): Bytes {
  let next = 0
  for (const size of sizes) yield Uint8Array.from({ length: size }, () => next++ % 256)
}

async function collect(source: Bytes): Promise<{ sizes: number[]; bytes: Buffer }> {
  const parts: Uint8Array[] = []
  for await (const chunk of source) parts.push(chunk)
  return { sizes: parts.map((part) => part.byteLength), bytes: Buffer.concat(parts) }
}

test('regrouping keeps the bytes and makes every chunk but the last of one size', async () => {
  const { bytes: expected } = await collect(chunks(1, 700, 2, 0, 64, 300))
  const { sizes, bytes } = await collect(regrouped(chunks(1, 700, 2, 0, 64, 300), 64))
  assert.deepEqual(bytes, expected)
  assert.ok(sizes.slice(0, -1).every((size) => size === 64))
  assert.equal(sizes.at(-1), 1067 % 64)
  assert.deepEqual((await collect(regrouped(chunks(128), 64))).sizes, [64, 64])
  assert.deepEqual((await collect(regrouped(chunks(), 64))).sizes, [])
})

test('the limit itself passes, one byte more does not, and the source is closed', async () => {
  assert.equal((await collect(limitBytes(chunks(50, 50), 100))).bytes.length, 100)
  let closed = false
  async function* source(): Bytes {
    try {
      yield new Uint8Array(100)
      yield new Uint8Array(1)
    } finally {
      closed = true
    }
  }
  await assert.rejects(collect(limitBytes(source(), 100)), Invalid)
  assert.equal(closed, true)
  let total = 0
  await collect(counted(chunks(3, 4), (bytes) => (total += bytes)))
  assert.equal(total, 7)
})

test('a secret prints as dots wherever it ends up', () => {
  const secret = new Secret('hunter2')
  const nested = { deep: [{ secret }] }
  const printed = [
    `${secret}`,
    JSON.stringify(nested),
    inspect(nested, { depth: 9, showHidden: true }),
    String(secret),
  ]
  for (const text of printed) {
    assert.match(text, /•••/)
    assert.doesNotMatch(text, /hunter2/)
  }
  assert.equal(secret.reveal(), 'hunter2')
})

test('a time limit aborts with a reason that says what was waited for', async () => {
  using limited = withTimeout(uncancelled(), 5, 'the array')
  await assert.rejects(sleep(60_000, limited.signal), /timed out after 5 ms waiting for the array/)
  const controller = new AbortController()
  using inner = withTimeout({ ...uncancelled(), signal: controller.signal }, 60_000, 'nothing')
  const reason = new Error('stopped')
  controller.abort(reason)
  await assert.rejects(sleep(60_000, inner.signal), reason)
  await assert.rejects(sleep(60_000, AbortSignal.abort(reason)), reason)
})

test('errors carry a stable code, facts and the cause', () => {
  const cause = new Error('socket')
  const error = new BackendError('The array is busy.', {
    left: 'partial',
    retryAfterMs: 500,
    details: { volume: 'v' },
    cause,
  })
  assert.ok(error instanceof StorageError)
  assert.equal(error.name, 'BackendError')
  assert.equal(error.code, 'backend')
  assert.equal(error.cause, cause)
  assert.deepEqual(error.details, { volume: 'v' })
  assert.equal('cause' in new NotFound('x'), false)
  assert.equal(messageOf('text'), 'text')
})
