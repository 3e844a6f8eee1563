import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MemoryDevice } from '../block-device.ts'
import { HEADER_BYTES, NO_TAG } from '../pdu/header.ts'
import { encodeNopOut } from '../pdu/nop-out.ts'
import { testUnitReadyCommand, writeCommand } from '../scsi/command-block.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { loginKeys, RawInitiator } from './raw-initiator.fixture.ts'
import { IscsiServer, type IscsiServerOptions } from './server.ts'

const NAME = 'iqn.2026-01.test:flooded'
const ME = 'iqn.2026-01.test:me'
const MiB = 1048576

async function serve(options: IscsiServerOptions = {}) {
  const server = new IscsiServer(options)
  const target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
  target.addLun(0, { device: new MemoryDevice(MiB), serial: 'flooded' })
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  return {
    port,
    target,
    async login(isid = '800000000001'): Promise<RawInitiator> {
      const raw = await RawInitiator.open(port)
      assert.equal((await raw.login(loginKeys(ME, NAME, [['InitialR2T', 'No']]), { isid })).status, 0)
      await raw.command(testUnitReadyCommand())
      return raw
    },
    [Symbol.asyncDispose]: () => server.close(),
  }
}

function ping(bytes: number): Buffer {
  const pdu = Buffer.alloc(HEADER_BYTES + bytes)
  encodeNopOut(
    {
      immediate: true,
      lunField: Buffer.alloc(8),
      initiatorTaskTag: 1,
      targetTransferTag: NO_TAG,
      cmdSn: 1,
      expStatSn: 1,
      dataLength: bytes,
    },
    pdu,
  )
  return pdu
}

test('pings whose answers are not taken stop being read, and others go on', async () => {
  await using target = await serve()
  await using good = await target.login()
  await using flood = await target.login('800000000002')
  flood.socket.pause()
  const pdu = ping(8192)
  const before = process.memoryUsage().arrayBuffers
  let sent = 0
  // Until the target takes no more: its buffers and the system's are full.
  for (let stalls = 0; stalls < 20; ) {
    const wasWritten = flood.socket.bytesWritten - flood.socket.writableLength
    while (flood.socket.writableLength < MiB) {
      flood.socket.write(pdu)
      sent += pdu.byteLength
    }
    await sleep(10)
    const isStuck = flood.socket.bytesWritten - flood.socket.writableLength === wasWritten
    stalls = isStuck ? stalls + 1 : 0
    assert.ok(sent < 512 * MiB, 'the target goes on reading')
  }
  assert.equal((await good.command(testUnitReadyCommand())).status, ScsiStatus.good)
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 * MiB)
  // Once its answers are taken it is served again.
  flood.socket.resume()
  for (let turn = 0; flood.socket.writableLength > 0; turn++) {
    assert.ok(turn < 1000, 'the target does not go on reading')
    await sleep(10)
  }
})

test('connections that do not log in keep nobody else out for long', async () => {
  await using target = await serve({ maxPendingLoginsPerAddress: 4, timeouts: { loginMs: 500 } })
  const idle = await Promise.all(Array.from({ length: 12 }, () => RawInitiator.open(target.port)))
  for (const each of idle.slice(4)) await each.whenClosed()
  assert.equal(idle.filter(({ closed }) => !closed).length, 4)
  for (const each of idle) await each.whenClosed()
  await using late = await target.login()
  assert.equal((await late.command(testUnitReadyCommand())).status, ScsiStatus.good)
})

test('a PDU that comes byte by byte for too long ends its connection', async () => {
  await using target = await serve({ timeouts: { answerMs: 40 } })
  await using slow = await target.login()
  const header = ping(4096).subarray(0, HEADER_BYTES)
  slow.socket.write(header)
  for (let turn = 0; !slow.closed; turn++) {
    assert.ok(turn < 600, 'the connection stays')
    slow.socket.write(Buffer.alloc(1))
    await sleep(10)
  }
})

test('when the write data of all sessions is too much, new writes are told to come later', async () => {
  await using target = await serve({ maxBufferedBytes: 64 * 1024 })
  await using one = await target.login()
  await using two = await target.login('800000000002')
  // Held back by a limit, with its data in memory.
  target.target.setLimits(0, { writeIops: 0.001 })
  const write = { write: Buffer.alloc(64 * 1024) }
  one.sendCommand(writeCommand(0, 128), write)
  assert.equal((await one.command(testUnitReadyCommand())).status, ScsiStatus.good)
  assert.equal((await two.command(writeCommand(0, 128), write)).status, ScsiStatus.taskSetFull)
  target.target.setLimits(0, {})
  assert.equal((await one.next())?.header.readUInt8(3), ScsiStatus.good)
  assert.equal((await two.command(writeCommand(0, 128), write)).status, ScsiStatus.good)
})
