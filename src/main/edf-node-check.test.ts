import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, open, readdir, rename, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { EdfClient } from '@emberglass/edf/client'
import { checkEdfNode, type DataDirectory, type EdfNode, startEdfNode } from '@emberglass/edf/node'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'

const call = { signal: AbortSignal.timeout(300_000) }
const program = join(import.meta.dirname, '..', '..', 'bin', 'emberglass.mjs')

/** Runs `emberglass edf-node check` as a shell does. */
function check(directory: string): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const { execPath, execArgv } = process
    const options = execArgv.filter((option) => option.startsWith('--conditions'))
    const words = [...options, program, 'edf-node', 'check', '--directory', directory]
    execFile(execPath, words, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
    )
  })
}

/** Makes a volume of two copies with a snapshot, and writes 1 MiB. @returns path of the volume */
async function fill(node: EdfNode): Promise<string> {
  const port = Number(new URL(node.httpUrl).port)
  const account = { login: node.login, password: node.password, driver: 'Test-1.0' }
  await using client = await EdfClient.connect({ host: '127.0.0.1', port, tls: false, ...account }, call)
  const root = client.in('/root')
  const volumes = [{ name: 'volume-1', size: 1, replica_count: 2 }]
  const made = await root.appInstances.create(
    {
      name: 'checked',
      access_control_mode: 'allow_all',
      storage_instances: [{ name: 'storage-1', volumes }],
    },
    call,
  )
  const [instance] = made.storage_instances
  const [host = '', iscsiPort] = node.iscsiPortal.split(':')
  await using disk = await openIscsiDisk(
    {
      portals: [{ host, port: Number(iscsiPort) }],
      targetName: instance?.access?.iqn ?? '',
      lun: 0,
      initiatorName: 'iqn.2001-04.com.example:host',
    },
    call,
  )
  await disk.write(0, Buffer.alloc(1024 * 1024, 7), call)
  await disk.flush(call)
  const path = instance?.volumes[0]?.path ?? ''
  await root.snapshots(path).create({}, call)
  return path
}

async function flip(directory: string): Promise<void> {
  const layers = join(directory, 'store', 'layers')
  const [name = ''] = (await readdir(layers)).filter((file) => file.endsWith('.data'))
  await using file = await open(join(layers, name), 'r+')
  await file.write(Buffer.from('flipped'), 0, 7, 4096 + 100)
}

test('a node is checked while it runs, and from its directories alone; damage is named', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'edf-check-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const directory = join(root, 'node')
  const [first, second] = ['a', 'b'].map((name): DataDirectory => ({ media: 'hdd', path: join(root, name) }))
  assert.ok(first && second)
  const node = await startEdfNode({
    directory,
    dataDirectories: [first, second],
    host: '127.0.0.1',
    httpPort: 0,
    httpsPort: 0,
    iscsi: { host: '127.0.0.1', port: 0 },
    onEvent: () => {},
  })
  t.after(() => node.close())
  const path = await fill(node)
  const running = await check(directory)
  assert.match(running.output, /checks itself[\s\S]*2 data directories, 2\.0 MiB: no damage/)
  assert.equal(running.code, 0)
  await assert.rejects(checkEdfNode({ directory }), { code: 'EDIRLOCKED' })
  await node.close()

  const progress: number[] = []
  const report = await checkEdfNode({ directory, onProgress: ({ doneBytes }) => progress.push(doneBytes) })
  assert.deepEqual(report, {
    ...{ errors: [], warnings: [], damagedBlocks: 0 },
    ...{ directories: 2, volumes: 1, snapshots: 1, bytesRead: 2 * 1024 * 1024 },
  })
  assert.ok(progress.includes(1024 * 1024))

  await flip(second.path)
  const damaged = await check(directory)
  assert.equal(damaged.code, 1)
  assert.ok(damaged.output.includes(`error: ${second.path}: the block of 4096 bytes at byte 4096 of ${path}`))
  assert.match(damaged.output, /2 data directories, 1 volumes, 1 snapshots, 2\.0 MiB: 1 errors/)

  const elsewhere = join(root, 'elsewhere')
  await rename(first.path, elsewhere)
  const { errors } = await checkEdfNode({ directory })
  assert.ok(errors.some((error) => error.startsWith(`${first.path} cannot be checked`)))
  const found = await checkEdfNode({ directory, dataDirectories: [{ media: 'hdd', path: elsewhere }] })
  assert.deepEqual([found.directories, found.damagedBlocks, found.errors.length], [2, 1, 1])

  await rm(second.path, { recursive: true })
  await rm(elsewhere, { recursive: true })
  const lost = await checkEdfNode({ directory })
  assert.ok(lost.errors.includes(`no copy of ${path} can be read`))
})

test('where there is no node, a check says so and does not make one', async (t) => {
  const root = await mkdtemp(join(tmpdir(), 'edf-check-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const { code, output } = await check(root)
  assert.deepEqual([code, output.includes(`there is no EDF node in ${root}`)], [2, true])
  assert.deepEqual(await readdir(root), [])
})
