import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Misconfigured } from '../kernel/errors.ts'
import { silentLogger } from '../kernel/log.ts'
import { Databases } from './databases.ts'
import { openStateDirectory } from './state-directory.ts'

/** What cannot be used is named, with why, and no secret in it. */
describe('a start that is refused', () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-refusals-'))
  })
  after(() => rm(directory, { recursive: true, force: true }))

  async function refusalOf(work: () => Promise<unknown>): Promise<string> {
    try {
      await work()
    } catch (error) {
      assert.ok(error instanceof Misconfigured, String(error))
      return error.message
    }
    throw new assert.AssertionError({ message: 'it was not refused' })
  }

  const openDatabase = (url: string) =>
    refusalOf(async () => {
      await using databases = new Databases(silentLogger())
      await databases.open(url)
    })

  test('names a PostgreSQL server that nobody reaches', async () => {
    for (const url of [
      'postgresql://user:se:cr/et@127.0.0.1:1/cinder',
      'postgresql+psycopg2://127.0.0.1:1/cinder?user=user&password=secret',
    ]) {
      const sentence = await openDatabase(url)
      assert.match(sentence, /^The database postgresql:\/\/.*127\.0\.0\.1:1\/cinder.* cannot be used: ./)
      assert.doesNotMatch(sentence, /et@|secret/)
    }
  })

  test('names a file that is no database', async () => {
    const file = join(directory, 'some.sqlite')
    await writeFile(file, 'this is no database, and it is long enough to be looked at'.repeat(20))
    const sentence = await openDatabase(`sqlite:///${file}`)
    assert.equal(sentence, `The database sqlite:///${file} cannot be used: file is not a database`)
  })

  test('names damaged secrets, and quotes nothing of them', async () => {
    const file = join(directory, 'secrets.json')
    for (const damaged of ['{"adminPassword":"hunter2"', 'null', '"hunter2"', 'hunter2']) {
      await writeFile(file, damaged)
      const sentence = await refusalOf(() => openStateDirectory(directory))
      assert.equal(sentence, `${file} is damaged: it holds no JSON object.`)
    }
  })
})
