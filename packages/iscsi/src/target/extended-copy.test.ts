import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice, readBytes } from '../block-device.ts'
import { testUnitReadyCommand } from '../scsi/command-block.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { loginKeys, RawInitiator } from './raw-initiator.fixture.ts'
import { IscsiServer } from './server.ts'

const cancel = { signal: new AbortController().signal }
const ME = 'iqn.2026-01.test:me'
const [A, B, C] = ['iqn.2026-01.test:a', 'iqn.2026-01.test:b', 'iqn.2026-01.test:c'] as const

interface Segment {
  readonly from: number
  readonly to: number
  readonly blocks: number
  readonly fromLba: number
  readonly toLba: number
}

/** EXTENDED COPY between units named by their NAA identifiers. */
function extendedCopy(naas: readonly string[], segments: readonly Segment[]) {
  const list = Buffer.alloc(16 + 32 * naas.length + 28 * segments.length)
  list.writeUInt8(1, 0)
  list.writeUInt16BE(32 * naas.length, 2)
  list.writeUInt32BE(28 * segments.length, 8)
  for (const [index, naa] of naas.entries()) {
    const at = 16 + 32 * index
    list.writeUInt8(0xe4, at)
    list.writeUInt8(1, at + 4)
    list.writeUInt8(3, at + 5)
    list.writeUInt8(8, at + 7)
    list.write(naa, at + 8, 'hex')
  }
  for (const [index, segment] of segments.entries()) {
    const at = 16 + 32 * naas.length + 28 * index
    list.writeUInt8(2, at)
    list.writeUInt16BE(24, at + 2)
    list.writeUInt16BE(segment.from, at + 4)
    list.writeUInt16BE(segment.to, at + 6)
    list.writeUInt16BE(segment.blocks, at + 10)
    list.writeBigUInt64BE(BigInt(segment.fromLba), at + 12)
    list.writeBigUInt64BE(BigInt(segment.toLba), at + 20)
  }
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(0x83, 0)
  cdb.writeUInt32BE(list.byteLength, 10)
  return [cdb, { write: list }] as const
}

function copyStatus(): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(0x84, 0)
  cdb.writeUInt8(1, 2)
  cdb.writeUInt32BE(64, 10)
  return cdb
}

function naaOf(index: number): string {
  return `300000000000000${index}`
}

async function setup() {
  const server = new IscsiServer()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const devices = [new MemoryDevice(8 * 1048576), new MemoryDevice(4 * 1048576), new MemoryDevice(1048576)]
  const [first, second, third] = devices
  assert.ok(first && second && third)
  for (const [index, name] of [A, B, C].entries()) {
    const target = server.addTarget({ name, access: { initiators: 'any' } })
    const device = devices[index]
    if (device) target.addLun(0, { device, serial: `copy-${index}`, naa: naaOf(index) })
  }
  const login = async (target: string): Promise<RawInitiator> => {
    const raw = await RawInitiator.open(port)
    assert.equal((await raw.login(loginKeys(ME, target))).status, 0)
    await raw.command(testUnitReadyCommand())
    return raw
  }
  return { first, second, third, login, [Symbol.asyncDispose]: () => server.close() }
}

test('blocks are copied to another target that the initiator is logged in to, and to no other', async () => {
  await using all = await setup()
  await using a = await all.login(A)
  await using _b = await all.login(B)
  const bytes = Buffer.alloc(3 * 1048576, 'what is copied ')
  await all.first.write(512, bytes, cancel)
  const segment = { from: 0, to: 1, blocks: 3 * 2048, fromLba: 1, toLba: 5 }
  assert.equal((await a.command(...extendedCopy([naaOf(0), naaOf(1)], [segment]))).status, ScsiStatus.good)
  assert.deepEqual(Buffer.from(await readBytes(all.second, 5 * 512, bytes.byteLength, cancel)), bytes)
  const status = await a.command(copyStatus(), { read: 64 })
  assert.equal(status.data.readUInt8(4), 1, 'completed')
  assert.equal(status.data.readUInt16BE(5), 1, 'one segment')
  assert.equal(status.data.readUInt32BE(8), 3072, 'KiB')

  const stranger = await a.command(...extendedCopy([naaOf(0), naaOf(2)], [{ ...segment, blocks: 1 }]))
  assert.deepEqual([stranger.sense?.key, stranger.sense?.asc, stranger.sense?.ascq], [0x0a, 0x0d, 0x02])
  assert.ok((await readBytes(all.third, 0, 1048576, cancel)).every((byte) => byte === 0))
})

test('a copy onto itself moves overlapping blocks in the right order', async () => {
  await using all = await setup()
  await using a = await all.login(A)
  const bytes = Buffer.alloc(4 * 1048576)
  for (let at = 0; at < bytes.byteLength; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at)
  for (const toLba of [100, 4000, 0]) {
    const fromLba = toLba === 0 ? 100 : 0
    await all.first.write(fromLba * 512, bytes, cancel)
    const segment = { from: 0, to: 0, blocks: 8192, fromLba, toLba }
    assert.equal((await a.command(...extendedCopy([naaOf(0)], [segment]))).status, ScsiStatus.good)
    const copied = await readBytes(all.first, toLba * 512, bytes.byteLength, cancel)
    assert.ok(bytes.equals(copied), `to block ${toLba}`)
  }
})

test('a reservation of somebody else ends a copy', async () => {
  await using all = await setup()
  await using a = await all.login(A)
  await using b = await all.login(B)
  const reserve = Buffer.from([0x16, 0, 0, 0, 0, 0])
  assert.equal((await b.command(Buffer.concat([reserve], 16))).status, ScsiStatus.good)
  const segment = { from: 0, to: 1, blocks: 8, fromLba: 0, toLba: 0 }
  // The same initiator holds it, through its own session there.
  assert.equal((await a.command(...extendedCopy([naaOf(0), naaOf(1)], [segment]))).status, ScsiStatus.good)
  const outside = await a.command(...extendedCopy([naaOf(0), naaOf(1)], [{ ...segment, toLba: 8190 }]))
  assert.equal(outside.sense?.key, 0x0a)
})
