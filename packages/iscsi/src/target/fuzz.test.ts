import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { encodeText } from '../login/text.ts'
import { HEADER_BYTES, Opcode, padded } from '../pdu/header.ts'
import { readCommand, testUnitReadyCommand, writeCommand } from '../scsi/command-block.ts'
import { ScsiStatus } from '../scsi/status.ts'
import { loginKeys, RawInitiator } from './raw-initiator.fixture.ts'
import { IscsiServer } from './server.ts'

/** PDUs in all; set EMBERGLASS_FUZZ_PDUS for a longer run. */
const PDUS = Number(process.env['EMBERGLASS_FUZZ_PDUS'] ?? 6000)
const SEED = Number(process.env['EMBERGLASS_FUZZ_SEED'] ?? Date.now() % 0x7fffffff)
const NAME = 'iqn.2026-01.test:disk'
const OPCODES = [...Object.values(Opcode), 0x1c, 0x3e]
const COMMANDS = [
  0x00, 0x03, 0x08, 0x0a, 0x12, 0x15, 0x16, 0x17, 0x1a, 0x1b, 0x25, 0x28, 0x2a, 0x2e, 0x2f, 0x34, 0x35, 0x41,
  0x42, 0x55, 0x5a, 0x5e, 0x5f, 0x88, 0x89, 0x8a, 0x8b, 0x8e, 0x8f, 0x91, 0x93, 0x9e, 0xa0, 0xa3, 0xa8, 0xaa,
  0xff,
]

/** mulberry32: the same seed gives the same run. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

type Random = ReturnType<typeof generator>

function randomBytes(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)))
}

/** A PDU that is right in most of its fields, so that it gets past the first check. */
function likelyPdu(random: Random, cmdSn: number): Buffer {
  const length = random(4) === 0 ? random(2048) : random(3) * 16
  const header = Buffer.alloc(HEADER_BYTES)
  const opcode = OPCODES[random(OPCODES.length)] ?? 0
  header.writeUInt8(opcode | (random(3) === 0 ? 0x40 : 0), 0)
  header.writeUInt8([0x80, 0xa0, 0xc0, 0x20, 0x00, random(256)][random(6)] ?? 0, 1)
  header.writeUInt32BE(length, 4)
  header.writeUInt8(random(3) === 0 ? 1 : 0, 9)
  header.writeUInt32BE(random(20), 16)
  header.writeUInt32BE(random(8) === 0 ? 0xffffffff : random(4096), 20)
  header.writeUInt32BE(cmdSn, 24)
  if (opcode === Opcode.scsiCommand) {
    header.writeUInt8(COMMANDS[random(COMMANDS.length)] ?? 0, 32)
    if (random(2) === 0) header.writeUInt8(random(32), 33)
    header.writeUInt8(random(8), 37)
    header.writeUInt8(random(16), 40)
  }
  for (let flips = random(3); flips > 0; flips--) header.writeUInt8(random(256), random(HEADER_BYTES))
  return Buffer.concat([header, randomBytes(random, padded(header.readUInt32BE(4) & 0xfff))])
}

/** A login that is wrong somewhere. */
function likelyLogin(random: Random): Buffer {
  const text = encodeText(
    loginKeys(`iqn.2026-01.test:${random(9)}`, NAME, [['MaxBurstLength', String(random(99999))]]),
  )
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt8(0x43, 0)
  header.writeUInt8([0x87, 0x81, 0x83, 0x04, 0xc7, random(256)][random(6)] ?? 0, 1)
  header.writeUInt32BE(text.byteLength, 4)
  const pdu = Buffer.concat([header, text, Buffer.alloc(padded(text.byteLength) - text.byteLength)])
  for (let flips = random(6); flips > 0; flips--) pdu.writeUInt8(random(256), random(pdu.byteLength))
  return pdu
}

test(`no bytes crash the target or disturb another session (seed ${SEED})`, async () => {
  const random = generator(SEED)
  await using server = new IscsiServer()
  const target = server.addTarget({ name: NAME, access: { initiators: 'any' } })
  target.addLun(0, { device: new MemoryDevice(1048576), serial: 'victim' })
  target.addLun(1, { device: new MemoryDevice(1048576), serial: 'attacked' })
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  await using good = await RawInitiator.open(port)
  assert.equal((await good.login(loginKeys('iqn.2026-01.test:good', NAME, [['InitialR2T', 'No']]))).status, 0)
  await good.command(testUnitReadyCommand())
  const bytes = randomBytes(random, 4096)
  assert.equal((await good.command(writeCommand(0, 8), { write: bytes })).status, ScsiStatus.good)

  const unexpected: unknown[] = []
  const note = (error: unknown) => unexpected.push(error)
  process.on('uncaughtException', note)
  process.on('unhandledRejection', note)
  try {
    for (let sent = 0; sent < PDUS; ) {
      await using bad = await RawInitiator.open(port)
      bad.socket.on('data', () => {})
      if (random(4) > 0) {
        const keys = loginKeys('iqn.2026-01.test:bad', NAME, [['InitialR2T', random(2) ? 'No' : 'Yes']])
        await bad.login(keys, { isid: `80000000000${random(10)}` })
      }
      const loggedIn = bad.cmdSn
      for (let count = 1 + random(60), cmdSn = loggedIn; count > 0 && !bad.closed; count--, sent++) {
        const kind = random(10)
        if (kind === 0) bad.socket.write(randomBytes(random, random(200)))
        else if (kind === 1) bad.socket.write(likelyLogin(random))
        else bad.socket.write(likelyPdu(random, cmdSn++))
        if (random(8) === 0) await new Promise(setImmediate)
      }
      await new Promise(setImmediate)
      // Attacked LUNs may be reserved or reset by now: LUN 0 may, too, as nothing keeps an admitted initiator from it.
      const echo = await good.command(testUnitReadyCommand(), { lun: 9 })
      assert.equal(echo.status, ScsiStatus.checkCondition)
    }
  } finally {
    process.off('uncaughtException', note)
    process.off('unhandledRejection', note)
  }
  assert.deepEqual(unexpected, [])
  for (let turn = 0; target.sessions().length > 1; turn++) {
    assert.ok(turn < 500, 'a session of a closed connection stayed')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  await good.command(testUnitReadyCommand())
  const { status } = await good.command(readCommand(0, 8), { read: 4096 })
  assert.ok(
    status === ScsiStatus.good ||
      status === ScsiStatus.reservationConflict ||
      status === ScsiStatus.checkCondition,
  )
})
