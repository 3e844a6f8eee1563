import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'

const examples = join(import.meta.dirname, '..', 'examples')
const limitMs = 60_000

/** Runs an example to its end. @returns what it printed */
async function run(example: string, ...argv: readonly string[]): Promise<string> {
  const command = ['--conditions=source', join(examples, example), ...argv]
  const { stdout } = await promisify(execFile)(process.execPath, command, { timeout: limitMs })
  return stdout
}

/** Starts the example that serves a file, for the length of a test. @returns the portal's address */
async function serve(t: TestContext, file: string): Promise<string> {
  const command = ['--conditions=source', join(examples, 'serve-file.ts'), file, '0']
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'pipe', 'inherit'] })
  t.after(async () => {
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    assert.deepEqual(await ended, [0, null], 'the example ended in an orderly way')
  })
  const [line] = await once(createInterface(child.stdout), 'line', { signal: AbortSignal.timeout(limitMs) })
  const address = /listens on (\S+)$/.exec(String(line))?.[1]
  assert.ok(address, `the example printed: ${line}`)
  return address
}

async function directoryOf(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'iscsi-examples-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  return directory
}

/** 2 MiB, of which the second is zeroes. */
function someBytes(fill: string): Buffer {
  return Buffer.concat([Buffer.alloc(1024 * 1024, fill), Buffer.alloc(1024 * 1024)])
}

test('the examples serve a file, find it, read it and write it', async (t) => {
  const directory = await directoryOf(t)
  const [disk, copy, other] = ['disk', 'copy', 'other'].map((name) => join(directory, name))
  assert.ok(disk && copy && other)
  await writeFile(disk, someBytes('what is on the disk '))
  const address = await serve(t, disk)
  assert.equal(await run('discover.ts', address), `iqn.2001-04.com.example:disk ${address}\n`)
  const printed = await run('read-lun.ts', address, 'iqn.2001-04.com.example:disk', copy)
  assert.match(printed, /, 2097152 bytes\n$/)
  assert.deepEqual(await readFile(copy), await readFile(disk))
  await writeFile(other, someBytes('what will be there '))
  const sent = await run('write-lun.ts', other, address, 'iqn.2001-04.com.example:disk')
  assert.equal(sent, '1048576 bytes sent, 1048576 bytes of zeroes not sent\n')
  assert.deepEqual(await readFile(disk), await readFile(other))
})

test('a file that is no whole number of blocks is served without its tail', async (t) => {
  const disk = join(await directoryOf(t), 'disk')
  await writeFile(disk, '')
  await truncate(disk, 1000)
  const address = await serve(t, disk)
  const copy = `${disk}-copy`
  const printed = await run('read-lun.ts', address, 'iqn.2001-04.com.example:disk', copy)
  assert.match(printed, /, 512 bytes\n$/)
  assert.deepEqual(await readFile(copy), Buffer.alloc(512))
})

test('the CHAP example logs in with the right secret and not with another, and never prints one', async () => {
  const printed = await run('chap.ts')
  assert.match(printed, /logged in, 1048576 bytes\n/)
  assert.match(printed, /not logged in: /)
  assert.match(printed, /refused .*status 0201/)
  assert.doesNotMatch(printed, /knows/)
})

test('the example of an own device writes to both halves', async () => {
  assert.equal(await run('own-device.ts'), 'emberglass\n')
})

test('the README shows every example as it is', async () => {
  const readme = await readFile(join(examples, '..', 'README.md'), 'utf8')
  const shown = new Map(
    [...readme.matchAll(/\[`(examples\/[a-z-]+\.ts)`\][^\n]*\n\n```ts\n(.*?)```/gs)].map((match) => [
      match[1],
      match[2],
    ]),
  )
  const files = (await readdir(examples)).map((name) => `examples/${name}`)
  assert.deepEqual([...shown.keys()].sort(), files.sort())
  for (const [name, text] of shown) {
    assert.equal(text, await readFile(join(examples, '..', String(name)), 'utf8'), `${name} differs`)
  }
})

test('the README shows the contract of a block device as it is', async () => {
  const root = join(examples, '..')
  const source = await readFile(join(root, 'src', 'block-device.ts'), 'utf8')
  const contract = /export interface BlockDevice .*?\n}\n/s.exec(source)?.[0]
  assert.ok(contract)
  assert.ok((await readFile(join(root, 'README.md'), 'utf8')).includes(contract))
})
