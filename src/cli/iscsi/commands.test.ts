import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { MemoryDevice, readBytes } from '@emberglass/iscsi/device'
import { IscsiServer, type IscsiTarget } from '@emberglass/iscsi/target'

const name = 'iqn.2026-01.test:cli'
const MiB = 1024 * 1024
const main = join(import.meta.dirname, '..', '..', 'main.ts')
const flags = ['--conditions=source', '--disable-warning=ExperimentalWarning', main, 'iscsi']
const cancel = { signal: new AbortController().signal }
const chap = { username: 'user', password: 'a secret of 16 b' }

interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

async function emberglass(...args: readonly string[]): Promise<Ran> {
  try {
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [...flags, ...args], {
      timeout: 60_000,
    })
    return { code: 0, stdout, stderr }
  } catch (error) {
    const { code, stdout, stderr } = error as Error & Ran
    return { code, stdout, stderr }
  }
}

describe('emberglass iscsi', () => {
  const device = new MemoryDevice(8 * MiB)
  const server = new IscsiServer()
  let target: IscsiTarget
  let portal: string
  let directory: string
  const url = () => `iscsi://${portal}/${name}/0`

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'emberglass-cli-iscsi-'))
    target = server.addTarget({ name, access: { initiators: 'any' } })
    target.addLun(0, { device, serial: 'cli-1' })
    const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
    portal = `127.0.0.1:${port}`
  })
  after(async () => {
    await server.close()
    await rm(directory, { recursive: true })
  })

  test('discover and inq tell what is there', async () => {
    const found = await emberglass('discover', `iscsi://${portal}`)
    assert.deepEqual([found.code, found.stdout], [0, `${portal},1 ${name}\n`])
    const told = await emberglass('inq', url())
    assert.equal(told.code, 0, told.stderr)
    assert.match(told.stdout, /^vendor: +DATERA\nproduct: +IBLOCK\n/)
    assert.match(told.stdout, /^serial number: +cli-1$/m)
    assert.match(told.stdout, /^size: +8388608 bytes \(8\.0 MiB\)$/m)
  })

  test('write puts a file or standard input on the disk, read gets any part of it back', async () => {
    const image = join(directory, 'image')
    const bytes = Buffer.concat([
      Buffer.alloc(2 * MiB),
      Buffer.alloc(MiB, 'on the disk '),
      Buffer.from('tail'),
    ])
    await writeFile(image, bytes)
    const written = await emberglass('write', image, url(), '--offset', '1m')
    assert.equal(written.code, 0, written.stderr)
    assert.match(written.stderr, /^3145732 bytes in .* of them zeroes that were not sent$/m)
    assert.ok(
      bytes.equals(
        await readBytes(device, MiB, 3 * MiB + 512, cancel).then((all) => all.subarray(0, bytes.length)),
      ),
    )

    const copy = join(directory, 'copy')
    await writeFile(copy, Buffer.alloc(9 * MiB, 'what was there before'))
    const read = await emberglass(
      'read',
      url(),
      copy,
      '--offset',
      '1m',
      '--length',
      String(bytes.length),
      '--data-digest',
    )
    assert.equal(read.code, 0, read.stderr)
    assert.ok(bytes.equals(await readFile(copy)))
    assert.ok((await stat(copy)).blocks * 512 < 2 * MiB, 'zeroes became holes')

    const piped = spawn(process.execPath, [...flags, 'write', '-', url()], {
      stdio: ['pipe', 'inherit', 'ignore'],
    })
    piped.stdin.end('from standard input')
    assert.deepEqual(await once(piped, 'exit'), [0, null])
    const shown = await emberglass('read', url(), '--length', '19')
    assert.equal(shown.stdout, 'from standard input')
  })

  test('bench measures, and destroys nothing unless told to', async () => {
    const measured = await emberglass(
      'bench',
      url(),
      '--seconds',
      '1',
      '--pattern',
      'randread',
      '--block-size',
      '4k',
    )
    assert.equal(measured.code, 0, measured.stderr)
    assert.match(measured.stdout, /^[1-9]\d* commands\/s, [\d.]+ MiB\/s\nlatency: median [\d.]+ ms/)
    const refused = await emberglass('bench', url(), '--pattern', 'write')
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /destroys what is on the disk: add --overwrite/)
  })

  test('errors say what to do, and no secret', async () => {
    const outside = await emberglass('write', main, url(), '--offset', '8m')
    assert.match(outside.stderr, /the disk has 8388608 bytes/)
    const absent = await emberglass('inq', `iscsi://${portal}/iqn.2026-01.test:other/0`)
    assert.match(absent.stderr, /`emberglass iscsi discover` lists them/)
    await target.setAccess({ initiators: 'any', chap })
    try {
      const [host, secret] = [portal, 'not the secret']
      const wrong = await emberglass('inq', `iscsi://user%${secret}@${host}/${name}/0`)
      assert.equal(wrong.code, 1)
      assert.match(wrong.stderr, /check the CHAP user and secret/)
      assert.ok(!wrong.stderr.includes(secret))
      const right = await emberglass('inq', `iscsi://user%${chap.password}@${host}/${name}/0`)
      assert.equal(right.code, 0, right.stderr)
    } finally {
      await target.setAccess({ initiators: 'any' })
    }
  })

  test('a further portal is used when the first is dead', async () => {
    const told = await emberglass('inq', `iscsi://127.0.0.1:1/${name}/0`, '--portal', portal)
    assert.equal(told.code, 0, told.stderr)
    assert.match(told.stdout, new RegExp(`^portal: +${portal}$`, 'm'))
  })
})
