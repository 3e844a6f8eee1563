import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import type { BlockDevice } from '@emberglass/iscsi/device'
import { FileReader, readerOfRanges } from '../random-reader.ts'
import { openQcow2 } from './device.ts'

const run = promisify(execFile)
const cancel = { signal: new AbortController().signal }
const MiB = 1024 * 1024
const sizeBytes = 9 * MiB + 3 * 512

const hasQemu = await run('qemu-img', ['--version']).then(
  () => true,
  () => false,
)

/** Deterministic bytes that do not compress well, and others that do. */
function content(): Buffer {
  const bytes = Buffer.alloc(sizeBytes)
  let state = 0x2545f491
  for (let at = 0; at < 3 * MiB; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    bytes.writeUInt32LE(state, at)
  }
  bytes.fill('compressible ', 4 * MiB + 512, 6 * MiB + 4096)
  bytes.fill(0xa5, 8 * MiB - 512, 8 * MiB + 512)
  bytes.fill(0x77, sizeBytes - 512)
  return bytes
}

describe('qcow2 images made by qemu-img', { skip: hasQemu ? false : 'qemu-img is not installed' }, () => {
  let directory: string
  let raw: string
  const expected = content()

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'qcow2-'))
    raw = join(directory, 'disk.raw')
    const file = await open(raw, 'w')
    await file.write(expected)
    await file.close()
  })
  after(() => rm(directory, { recursive: true, force: true }))

  async function open2(path: string): Promise<BlockDevice> {
    return openQcow2(await FileReader.open(path), cancel)
  }

  /** Reads the device in pieces of odd sizes and compares every byte. */
  async function assertHolds(device: BlockDevice, bytes: Buffer): Promise<void> {
    assert.equal(device.sizeBytes, bytes.byteLength)
    for (const pieceBytes of [MiB, 13 * 512, 700 * 512]) {
      const piece = Buffer.alloc(pieceBytes, 0xee)
      const step = pieceBytes < MiB ? pieceBytes * 7 : pieceBytes
      for (let at = 0; at < bytes.byteLength; at += step) {
        const part = piece.subarray(0, Math.min(pieceBytes, bytes.byteLength - at))
        await device.read(at, part, cancel)
        assert.ok(part.equals(bytes.subarray(at, at + part.byteLength)), `bytes from ${at} differ`)
      }
    }
    const extents = (await device.extents?.(0, device.sizeBytes, cancel)) ?? []
    let at = 0
    for (const extent of extents) {
      assert.equal(extent.offset, at)
      assert.ok(extent.length > 0)
      if (extent.state !== 'data') {
        const part = bytes.subarray(at, at + extent.length)
        assert.ok(part.equals(Buffer.alloc(part.byteLength)), `the ${extent.state} at ${at} holds data`)
      }
      at += extent.length
    }
    assert.equal(at, device.sizeBytes)
  }

  const variants: Record<string, readonly string[]> = {
    'version 2': ['-o', 'compat=0.10'],
    'version 3': ['-o', 'compat=1.1'],
    'version 2, deflate': ['-c', '-o', 'compat=0.10'],
    'version 3, deflate': ['-c'],
    'version 3, zstd': ['-c', '-o', 'compression_type=zstd'],
    'zstd with clusters of 2 MiB': ['-c', '-o', 'compression_type=zstd,cluster_size=2M'],
    'clusters of 512 bytes': ['-o', 'cluster_size=512'],
    'clusters of 4 KiB, deflate': ['-c', '-o', 'cluster_size=4k'],
    'clusters of 2 MiB': ['-o', 'cluster_size=2M'],
    'lazy refcounts': ['-o', 'lazy_refcounts=on'],
    'metadata preallocated': ['-o', 'preallocation=metadata'],
    'fully preallocated': ['-o', 'preallocation=falloc'],
    'extended second-level entries': ['-o', 'extended_l2=on,cluster_size=128k'],
    'extended second-level entries, deflate': ['-c', '-o', 'extended_l2=on'],
  }
  for (const [name, options] of Object.entries(variants)) {
    test(`reads every byte: ${name}`, async () => {
      const path = join(directory, `${name.replaceAll(/\W+/g, '-')}.qcow2`)
      await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...options, raw, path])
      await using device = await open2(path)
      await assertHolds(device, expected)
      await rm(path)
    })
  }

  test('reads the present state of an image with internal snapshots, zeroes and half-written clusters', async () => {
    for (const options of ['compat=1.1', 'extended_l2=on']) {
      const path = join(directory, 'snapshots.qcow2')
      await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-o', options, raw, path])
      await run('qemu-img', ['snapshot', '-c', 'before', path])
      await run('qemu-io', [
        '-f',
        'qcow2',
        ...['-c', 'write -P 0x11 66048 4096', '-c', 'write -z 1M 1M', '-c', 'write -z -u 2M 256k'],
        ...['-c', 'write -P 0x22 6815744 512', '-c', 'discard 4M 128k', '-c', 'write -z 66560 512'],
        path,
      ])
      const converted = join(directory, 'snapshots.raw')
      await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, converted])
      await using device = await open2(path)
      await assertHolds(device, await readFile(converted))
      await rm(path)
    }
  })

  test('tells holes from data without reading it', async () => {
    const path = join(directory, 'sparse.qcow2')
    await run('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1T'])
    await run('qemu-io', ['-f', 'qcow2', '-c', 'write -P 1 500G 64k', '-c', 'write -z 600G 64k', path])
    await using device = await open2(path)
    const GiB = 1024 * MiB
    assert.deepEqual(await device.extents?.(0, device.sizeBytes, cancel), [
      { offset: 0, length: 500 * GiB, state: 'hole' },
      { offset: 500 * GiB, length: 65536, state: 'data' },
      { offset: 500 * GiB + 65536, length: 100 * GiB - 65536, state: 'hole' },
      { offset: 600 * GiB, length: 65536, state: 'zero' },
      { offset: 600 * GiB + 65536, length: 424 * GiB - 65536, state: 'hole' },
    ])
  })

  test('reads through a source that serves ranges as streams', async () => {
    const path = join(directory, 'ranges.qcow2')
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-c', raw, path])
    const file = await readFile(path)
    const source = readerOfRanges(file.byteLength, async function* (start, end) {
      for (let at = start; at < end; at += 1000) yield file.subarray(at, Math.min(end, at + 1000))
    })
    await using device = await openQcow2(source, cancel)
    await assertHolds(device, expected)
  })

  test('refuses a backing file, an external data file and encryption', async () => {
    const refused: Record<string, readonly string[]> = {
      'backing file': ['-b', raw, '-F', 'raw'],
      'external data file': ['-o', `data_file=${join(directory, 'data')}`],
      encrypted: ['--object', 'secret,id=k,data=abc', '-o', 'encrypt.format=luks,encrypt.key-secret=k'],
    }
    for (const [why, options] of Object.entries(refused)) {
      const path = join(directory, 'refused.qcow2')
      const iterations = why === 'encrypted' ? ['-o', 'encrypt.iter-time=10'] : []
      await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...options, ...iterations, path, '8M'])
      await assert.rejects(
        open2(path),
        (error: Error) => error.name === 'Invalid' && error.message.includes(why),
      )
      await rm(path)
    }
  })

  test('rejects a read at once when the call is cancelled', async () => {
    const path = join(directory, 'cancel.qcow2')
    await run('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, path])
    await using device = await open2(path)
    const stopped = { signal: AbortSignal.abort(new Error('stopped')) }
    await assert.rejects(async () => device.read(0, Buffer.alloc(512), stopped), /stopped/)
    await device.read(0, Buffer.alloc(512), cancel)
  })
})
