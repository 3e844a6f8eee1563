import assert from 'node:assert/strict'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  JOURNAL_HEADER_BYTES,
  JOURNAL_RECORD_BYTES,
  MapJournal,
  readBootId,
  readJournal,
  removeJournal,
} from './map-journal.ts'
import { DATA, ZERO } from './map-page.ts'

const BOOT = 'today'

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'map-journal-'))
  t.after(() => rm(directory, { recursive: true }))
  return directory
}

/** Writes a journal of four changes of layer 7 and leaves it there, as a killed process does. */
function leave(directory: string): void {
  const journal = new MapJournal(directory, 7, BOOT)
  for (let first = 0; first < 4; first++) journal.append(first, 1, DATA)
}

const firsts = (directory: string, layer = 7, boot = BOOT): { firsts: number[]; damaged: number } => {
  const { changes, damaged } = readJournal(directory, layer, boot)
  return { firsts: changes.map(({ first }) => first), damaged }
}

test('a journal tells what was noted since the last flush, the oldest first', async (t) => {
  const directory = await temporary(t)
  const journal = new MapJournal(directory, 7, BOOT)
  assert.deepEqual(await readdir(directory), [])
  journal.append(2 ** 40, 2 ** 32 - 1, DATA)
  journal.append(5, 1, ZERO)
  assert.equal(journal.bytes, JOURNAL_HEADER_BYTES + 2 * JOURNAL_RECORD_BYTES)
  journal.seal()
  journal.append(6, 2, DATA)
  const all = [
    { first: 2 ** 40, blocks: 2 ** 32 - 1, state: DATA },
    { first: 5, blocks: 1, state: ZERO },
    { first: 6, blocks: 2, state: DATA },
  ]
  assert.deepEqual(readJournal(directory, 7, BOOT), { changes: all, damaged: 0 })
  await journal.drop()
  assert.deepEqual(readJournal(directory, 7, BOOT), { changes: all.slice(2), damaged: 0 })
  journal.seal()
  journal.append(9, 1, DATA)
  assert.deepEqual(firsts(directory), { firsts: [6, 9], damaged: 0 })
  await journal.drop()
  assert.deepEqual(firsts(directory), { firsts: [9], damaged: 0 })
  journal.remove()
  assert.deepEqual(await readdir(directory), [])
  journal.remove()
})

test('a journal of another boot, or of another layer, tells nothing', async (t) => {
  const directory = await temporary(t)
  leave(directory)
  assert.deepEqual(firsts(directory, 7, 'tomorrow'), { firsts: [], damaged: 0 })
  assert.deepEqual(firsts(directory, 8), { firsts: [], damaged: 0 })
  await writeFile(join(directory, '8.journal-a'), await readFile(join(directory, '7.journal-a')))
  assert.deepEqual(firsts(directory, 8), { firsts: [], damaged: 0 })
  assert.deepEqual(firsts(directory).firsts, [0, 1, 2, 3])
})

test('a torn end of a journal is what was never acknowledged', async (t) => {
  const directory = await temporary(t)
  leave(directory)
  const path = join(directory, '7.journal-a')
  const whole = await readFile(path)
  for (let length = whole.byteLength; length >= 0; length -= 7) {
    await truncate(path, length)
    const records = Math.max(0, Math.floor((length - JOURNAL_HEADER_BYTES) / JOURNAL_RECORD_BYTES))
    assert.deepEqual(firsts(directory), { firsts: [0, 1, 2, 3].slice(0, records), damaged: 0 })
  }
  await writeFile(path, Buffer.concat([whole, Buffer.alloc(100)]))
  assert.deepEqual(firsts(directory), { firsts: [0, 1, 2, 3], damaged: 0 })
})

test('damaged records are counted, and the others believed', async (t) => {
  const directory = await temporary(t)
  leave(directory)
  const path = join(directory, '7.journal-a')
  const whole = await readFile(path)
  for (let at = 0; at < whole.byteLength; at++) {
    const bytes = Buffer.from(whole)
    bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at)
    await writeFile(path, bytes)
    const record = Math.floor((at - JOURNAL_HEADER_BYTES) / JOURNAL_RECORD_BYTES)
    const expected =
      record < 0
        ? { firsts: [], damaged: 1 }
        : { firsts: [0, 1, 2, 3].filter((first) => first !== record), damaged: record < 3 ? 1 : 0 }
    assert.deepEqual(firsts(directory), expected, `byte ${at}`)
  }
})

test('what an earlier journal of the layer has left is not taken for a part of the next', async (t) => {
  const directory = await temporary(t)
  const left = new MapJournal(directory, 7, BOOT)
  left.append(1, 1, DATA)
  left.seal()
  left.append(2, 1, DATA)
  const next = new MapJournal(directory, 7, BOOT)
  next.append(3, 1, DATA)
  assert.deepEqual(firsts(directory), { firsts: [3], damaged: 0 })
  next.seal()
  next.append(4, 1, DATA)
  assert.deepEqual(firsts(directory), { firsts: [3, 4], damaged: 0 })
  removeJournal(directory, 7)
  assert.deepEqual(await readdir(directory), [])
})

test('the id of this boot is the same each time', { skip: process.platform !== 'linux' }, () => {
  assert.match(readBootId() ?? '', /^[0-9a-f-]{36}$/)
  assert.equal(readBootId(), readBootId())
})
