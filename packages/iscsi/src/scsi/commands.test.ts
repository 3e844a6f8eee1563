import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Cancel, type Done, MemoryDevice } from '../block-device.ts'
import { ScsiError } from '../errors.ts'
import {
  compareAndWriteCommand,
  encodeUnmapList,
  inquiryCommand,
  readCommand,
  testUnitReadyCommand,
  unmapCommand,
  writeCommand,
  writeSameCommand,
} from './command-block.ts'
import type { Outcome, Plan, UnitHost } from './command-table.ts'
import { planCommand } from './commands.ts'
import { LogicalUnit } from './logical-unit.ts'
import type { Nexus } from './nexus.ts'
import { Conditions, type Sense } from './sense.ts'
import { ScsiStatus } from './status.ts'

const host: UnitHost = {
  targetName: 'iqn.2026-01.test:disk',
  targetAlias: undefined,
  portalGroupTag: 1,
  accessState: 'activeOptimized',
  portalGroups: () => [{ tag: 1, state: 'activeOptimized' }],
  lunNumbers: () => [0],
  unitNamed: () => undefined,
  abortTasks: async () => {},
}
const alice: Nexus = { id: 'alice,i,0x1', initiatorName: 'alice' }
const bob: Nexus = { id: 'bob,i,0x2', initiatorName: 'bob' }
const cancel: Cancel = { signal: new AbortController().signal }

function newUnit(device: MemoryDevice = new MemoryDevice(1048576), readOnly = false): LogicalUnit {
  const unit = new LogicalUnit({ device, serial: 'unit', readOnly })
  for (const nexus of [alice, bob]) {
    unit.attach(nexus.id)
    unit.takeAttention(nexus.id)
  }
  return unit
}

function plan(unit: LogicalUnit, cdb: Buffer, nexus = alice, dataOutLength = 0): Plan {
  return planCommand({ unit, nexus, host, cdb, dataOutLength })
}

async function execute(
  unit: LogicalUnit,
  cdb: Buffer,
  data: Buffer = Buffer.alloc(0),
  nexus = alice,
): Promise<Outcome> {
  const planned = plan(unit, cdb, nexus, data.byteLength)
  if (planned.kind === 'collect') return planned.run(data.subarray(0, planned.length), cancel)
  if (planned.kind === 'run') return planned.run(cancel)
  if (planned.kind === 'done') return planned
  throw new Error(`${planned.kind} moves data`)
}

const condition = (sense: Sense) => (error: unknown) =>
  error instanceof ScsiError &&
  error.senseKey === sense.key &&
  error.asc === sense.asc &&
  error.ascq === sense.ascq

function cdb(hex: string): Buffer {
  return Buffer.concat([Buffer.from(hex, 'hex')], 16)
}

function persistentReserveOut(
  action: number,
  type: number,
  key: number,
  serviceActionKey: number,
): [Buffer, Buffer] {
  const block = cdb(`5f${action.toString(16).padStart(2, '0')}0${type}000000000018`)
  const list = Buffer.alloc(24)
  list.writeUInt32BE(key, 4)
  list.writeUInt32BE(serviceActionKey, 12)
  return [block, list]
}

test('a unit attention is told once, and not by INQUIRY', () => {
  const unit = newUnit()
  unit.raiseAttention(Conditions.capacityChanged)
  assert.equal(plan(unit, inquiryCommand(96)).kind, 'done')
  assert.throws(() => plan(unit, testUnitReadyCommand()), condition(Conditions.capacityChanged))
  assert.equal(plan(unit, testUnitReadyCommand()).kind, 'done')
  assert.throws(() => plan(unit, testUnitReadyCommand(), bob), condition(Conditions.capacityChanged))
})

test('what is not a command, or asks for what is not there, has its own sense code', () => {
  const unit = newUnit()
  assert.throws(() => plan(unit, cdb('ff')), condition(Conditions.invalidOperationCode))
  assert.throws(() => plan(unit, cdb('9e1f')), condition(Conditions.invalidFieldInCommand))
  assert.throws(() => plan(unit, cdb('000000000004')), condition(Conditions.invalidFieldInCommand))
  assert.throws(() => plan(unit, readCommand(2048, 0)), condition(Conditions.addressOutOfRange))
  assert.throws(() => plan(unit, readCommand(2047, 2)), condition(Conditions.addressOutOfRange))
  assert.throws(() => plan(unit, cdb('2820000000000000010000')), condition(Conditions.invalidFieldInCommand))
})

test('a read-only unit refuses everything that writes', () => {
  const unit = newUnit(undefined, true)
  const writing = [writeCommand(0, 1), writeSameCommand(0, 1), unmapCommand(24), compareAndWriteCommand(0, 1)]
  for (const block of writing) assert.throws(() => plan(unit, block), condition(Conditions.writeProtected))
  assert.equal(plan(unit, readCommand(0, 1)).kind, 'read')
})

test('UNMAP checks every range before it touches the first', async () => {
  const device = new MemoryDevice(1048576)
  const unit = newUnit(device)
  await device.write(0, Buffer.alloc(1048576, 1), cancel)
  const list = encodeUnmapList([
    { lba: 0, blocks: 8 },
    { lba: 2047, blocks: 2 },
  ])
  await assert.rejects(
    async () => execute(unit, unmapCommand(list.byteLength), list),
    condition(Conditions.addressOutOfRange),
  )
  const bytes = Buffer.alloc(512)
  await device.read(0, bytes, cancel)
  assert.equal(bytes[0], 1)
  const good = encodeUnmapList([{ lba: 0, blocks: 8 }])
  await execute(unit, unmapCommand(good.byteLength), good)
  await device.read(0, bytes, cancel)
  assert.equal(bytes[0], 0)
  await assert.rejects(
    async () => execute(unit, unmapCommand(7), list),
    condition(Conditions.parameterListLengthError),
  )
})

test('WRITE SAME repeats its block', async () => {
  const device = new MemoryDevice(4 * 1048576)
  const unit = newUnit(device)
  const block = Buffer.alloc(512, 'pattern!')
  await execute(unit, writeSameCommand(5, 5000), block)
  const bytes = Buffer.alloc(512 * 5002)
  await device.read(4 * 512, bytes, cancel)
  assert.ok(bytes.subarray(512, -512).equals(Buffer.alloc(512 * 5000, block)))
  assert.ok(bytes.subarray(0, 512).every((byte) => byte === 0))
  assert.ok(bytes.subarray(-512).every((byte) => byte === 0))
})

/** Writes take a turn of the event loop. */
class SlowDevice extends MemoryDevice {
  override write(offset: number, data: Uint8Array, by: Cancel): Done {
    const copy = Buffer.from(data)
    return new Promise((resolve) => setTimeout(resolve, 2)).then(() => {
      void super.write(offset, copy, by)
    })
  }
}

test('of many COMPARE AND WRITE of the same block at once, one wins', async () => {
  const unit = newUnit(new SlowDevice(1048576))
  const outcomes = await Promise.allSettled(
    Array.from({ length: 20 }, (_, index) => {
      const data = Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, index + 1)])
      return execute(unit, compareAndWriteCommand(3, 1), data)
    }),
  )
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  const failed = outcomes.find((outcome) => outcome.status === 'rejected')
  assert.ok(failed?.status === 'rejected' && condition(Conditions.miscompare)(failed.reason))
  assert.equal(failed.reason.information, 0)
})

test('a plain write waits for a COMPARE AND WRITE on its block, and the other way round', async () => {
  const unit = newUnit(new SlowDevice(1048576))
  const swap = execute(
    unit,
    compareAndWriteCommand(0, 1),
    Buffer.concat([Buffer.alloc(512), Buffer.alloc(512, 1)]),
  )
  await new Promise(setImmediate)
  const write = unit.write(0, Buffer.alloc(512, 2), cancel)
  const second = execute(
    unit,
    compareAndWriteCommand(0, 1),
    Buffer.concat([Buffer.alloc(512, 2), Buffer.alloc(512, 3)]),
  )
  await Promise.all([swap, write])
  // Which of the two waiting ones came first is open; a mixture is not.
  const [result] = await Promise.allSettled([second])
  const bytes = Buffer.alloc(512)
  await unit.read(0, bytes, cancel)
  const expected = result?.status === 'fulfilled' ? 3 : 2
  assert.ok(bytes.every((byte) => byte === expected))
})

test('a registrants-only reservation keeps others from writing, and its end is told to registrants', async () => {
  const unit = newUnit()
  const run = (args: [Buffer, Buffer], nexus: Nexus) => execute(unit, args[0], args[1], nexus)
  assert.equal((await run(persistentReserveOut(0, 0, 0, 1), alice)).status, undefined)
  assert.equal((await run(persistentReserveOut(1, 5, 1, 0), alice)).status, undefined)
  const conflict = { kind: 'done', status: ScsiStatus.reservationConflict }
  assert.deepEqual(plan(unit, writeCommand(0, 1), bob), conflict)
  assert.equal(plan(unit, readCommand(0, 1), bob).kind, 'read')
  assert.equal((await run(persistentReserveOut(1, 5, 2, 0), bob)).status, ScsiStatus.reservationConflict)
  assert.equal((await run(persistentReserveOut(0, 0, 0, 2), bob)).status, undefined)
  assert.equal(plan(unit, writeCommand(0, 1), bob).kind, 'write')
  assert.equal((await run(persistentReserveOut(0, 0, 1, 0), alice)).status, undefined)
  assert.throws(() => plan(unit, testUnitReadyCommand(), bob), condition(Conditions.reservationsReleased))
})

test('PREEMPT takes a reservation over, and the one who lost it learns of it', async () => {
  const unit = newUnit()
  const run = (args: [Buffer, Buffer], nexus: Nexus) => execute(unit, args[0], args[1], nexus)
  await run(persistentReserveOut(6, 0, 0, 1), alice)
  await run(persistentReserveOut(6, 0, 0, 2), bob)
  await run(persistentReserveOut(1, 3, 1, 0), alice)
  assert.equal((await run(persistentReserveOut(4, 3, 2, 9), bob)).status, ScsiStatus.reservationConflict)
  assert.equal((await run(persistentReserveOut(4, 3, 2, 1), bob)).status, undefined)
  assert.throws(() => plan(unit, testUnitReadyCommand()), condition(Conditions.registrationsPreempted))
  assert.deepEqual(plan(unit, readCommand(0, 1)), { kind: 'done', status: ScsiStatus.reservationConflict })
  assert.equal(plan(unit, readCommand(0, 1), bob).kind, 'read')
})

test('RESERVE keeps others out until it is released, reset or its nexus is gone', async () => {
  const reserve = cdb('16')
  for (const free of [
    (unit: LogicalUnit) => void plan(unit, cdb('17')),
    (unit: LogicalUnit) => {
      unit.reset()
      assert.deepEqual(unit.takeAttention(bob.id), Conditions.deviceReset)
    },
    (unit: LogicalUnit) => unit.detach(alice.id),
  ]) {
    const unit = newUnit()
    assert.equal(plan(unit, reserve).kind, 'done')
    const conflict = { kind: 'done', status: ScsiStatus.reservationConflict }
    assert.deepEqual(plan(unit, reserve, bob), conflict)
    assert.deepEqual(plan(unit, testUnitReadyCommand(), bob), conflict)
    free(unit)
    assert.deepEqual(plan(unit, reserve, bob), { kind: 'done' })
  }
})
