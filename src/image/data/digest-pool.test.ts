import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { BackendError } from '../../kernel/errors.ts'
import { DigestPool } from './digest-pool.ts'

const expected = (data: Uint8Array) =>
  ['md5', 'sha512'].map((algorithm) => createHash(algorithm).update(data).digest('hex'))

test('digests of streams that pass at once are those of their bytes', async () => {
  await using pool = new DigestPool(2)
  const images = [0, 1, 511_999, 524_288, 9_000_001, 20_000_000].map((length) => randomBytes(length))
  await Promise.all(
    images.map(async (data, index) => {
      using run = pool.begin(['md5', 'sha512'])
      const step = 1 + index * 123_457
      for (let position = 0; position < data.byteLength; position += step) {
        await run.push(data.subarray(position, position + step))
      }
      assert.deepEqual(await run.finish(), expected(data))
    }),
  )
})

test('a chunk belongs to its owner again as soon as push has returned', async () => {
  await using pool = new DigestPool(2)
  using run = pool.begin(['md5', 'sha512'])
  const data = randomBytes(3_000_000)
  const chunk = Buffer.from(data)
  await run.push(chunk)
  chunk.fill(0)
  assert.deepEqual(await run.finish(), expected(data))
})

test('a stream that is given up does not disturb the next one', async () => {
  await using pool = new DigestPool(2)
  for (let round = 0; round < 5; round += 1) {
    const given = pool.begin(['md5', 'sha512'])
    await given.push(randomBytes(5_000_000))
    given[Symbol.dispose]()
    using run = pool.begin(['md5', 'sha512'])
    const data = randomBytes(1_000_000)
    await run.push(data)
    assert.deepEqual(await run.finish(), expected(data))
  }
})

test('an algorithm that does not exist is an error, not a wait for ever, and the pool recovers', async () => {
  await using pool = new DigestPool(2)
  using run = pool.begin(['md5', 'sha-none'])
  await assert.rejects(async () => {
    await run.push(randomBytes(10_000_000))
    await run.finish()
  }, BackendError)
  using next = pool.begin(['md5', 'sha512'])
  const data = randomBytes(100)
  await next.push(data)
  assert.deepEqual(await next.finish(), expected(data))
})

test('the algorithms of a stream have a thread each, which end when nothing was hashed for a while', async () => {
  await using pool = new DigestPool(2, 20)
  assert.equal(pool.threadCount, 0, 'none before the first stream')
  {
    using run = pool.begin(['md5', 'sha512'])
    assert.equal(pool.threadCount, 2)
    using other = pool.begin(['md5', 'sha512'])
    assert.equal(pool.threadCount, 2, 'shared when there are no more')
    const data = randomBytes(100)
    await Promise.all([run.push(data), other.push(data)])
    assert.deepEqual(await Promise.all([run.finish(), other.finish()]), [expected(data), expected(data)])
  }
  const deadline = Date.now() + 10_000
  while (pool.threadCount > 0 && Date.now() < deadline)
    await new Promise((resolve) => setTimeout(resolve, 10))
  assert.equal(pool.threadCount, 0)
})
