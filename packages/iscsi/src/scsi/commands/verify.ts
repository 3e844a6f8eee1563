/** Commands that compare: VERIFY, WRITE AND VERIFY, COMPARE AND WRITE, ORWRITE. SBC-3 chapter 5. */
import type { Cancel } from '../../block-device.ts'
import { logicalBlockAddress, OperationCode, transferBlocks } from '../command-block.ts'
import {
  type CommandContext,
  type CommandDefinition,
  GOOD,
  type Outcome,
  type Plan,
} from '../command-table.ts'
import { checkCondition, type LogicalUnit, SLICE_BYTES } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'
import { COMPARE_AND_WRITE_BYTES, MAX_COLLECT_BYTES } from './limits.ts'
import { addressed, refuseProtection } from './transfer.ts'

/** @throws ScsiError `miscompare` with the offset of the first byte that differs */
function mustEqual(found: Uint8Array, wanted: Uint8Array, base = 0): void {
  if (Buffer.compare(found, wanted) === 0) return
  let at = 0
  while (found[at] === wanted[at]) at += 1
  throw checkCondition({ ...Conditions.miscompare, information: base + at })
}

/** Reads a range in slices and compares it; without `wanted` it only has to be readable. */
async function compareRange(
  unit: LogicalUnit,
  offset: number,
  length: number,
  wanted: ((at: number, bytes: number) => Uint8Array) | undefined,
  cancel: Cancel,
): Promise<void> {
  const slice = Buffer.allocUnsafe(Math.min(length, SLICE_BYTES))
  for (let at = 0; at < length; at += slice.byteLength) {
    const bytes = Math.min(slice.byteLength, length - at)
    const found = slice.subarray(0, bytes)
    await unit.read(offset + at, found, cancel)
    if (wanted) mustEqual(found, wanted(at, bytes), at)
    else await new Promise(setImmediate)
  }
}

/** The bytes a command addresses whose data is needed whole. */
function collected(context: CommandContext): { offset: number; length: number } {
  const range = addressed(context)
  if (range.length > MAX_COLLECT_BYTES) throw checkCondition(Conditions.invalidFieldInCommand)
  return range
}

function verify(context: CommandContext): Plan {
  const { unit, cdb } = context
  refuseProtection(cdb)
  const check = (cdb.readUInt8(1) >> 1) & 3
  if (check === 2) throw checkCondition(Conditions.invalidFieldInCommand)
  if (check === 0) {
    const blocks = transferBlocks(cdb)
    const offset = unit.byteRange(logicalBlockAddress(cdb), blocks)
    return {
      kind: 'run',
      charge: { direction: 'read', bytes: blocks * unit.blockSize },
      run: async (cancel) => {
        await compareRange(unit, offset, blocks * unit.blockSize, undefined, cancel)
        return GOOD
      },
    }
  }
  const { offset, length } = collected(context)
  const sent = check === 3 ? Math.min(length, unit.blockSize) : length
  return {
    kind: 'collect',
    length: sent,
    charge: { direction: 'read', bytes: length },
    run: async (data, cancel) => {
      const wanted =
        check === 3
          ? (_at: number, bytes: number) => Buffer.alloc(bytes, data)
          : (at: number, bytes: number) => data.subarray(at, at + bytes)
      await compareRange(
        unit,
        offset,
        check === 3 ? length : Math.min(length, data.byteLength),
        wanted,
        cancel,
      )
      return GOOD
    },
  }
}

function writeAndVerify(context: CommandContext): Plan {
  const { unit, cdb } = context
  refuseProtection(cdb)
  const check = (cdb.readUInt8(1) >> 1) & 3
  if (check > 1) throw checkCondition(Conditions.invalidFieldInCommand)
  const { offset, length } = collected(context)
  return {
    kind: 'collect',
    length,
    charge: { direction: 'write', bytes: length },
    run: async (data, cancel) => {
      const whole = data.subarray(0, data.byteLength - (data.byteLength % unit.blockSize))
      await unit.write(offset, whole, cancel)
      await unit.flush(cancel)
      await compareRange(
        unit,
        offset,
        whole.byteLength,
        (at, bytes) => whole.subarray(at, at + bytes),
        cancel,
      )
      return GOOD
    },
  }
}

function compareAndWrite({ unit, cdb, dataOutLength }: CommandContext): Plan {
  refuseProtection(cdb)
  const blocks = cdb.readUInt8(13)
  const length = blocks * unit.blockSize
  if (length > COMPARE_AND_WRITE_BYTES) throw checkCondition(Conditions.invalidFieldInCommand)
  const offset = unit.byteRange(logicalBlockAddress(cdb), blocks)
  if (dataOutLength !== 2 * length) throw checkCondition(Conditions.invalidFieldInCommand)
  if (blocks === 0) return { kind: 'done' }
  const durable = (cdb.readUInt8(1) & 0x08) !== 0
  return {
    kind: 'collect',
    length: 2 * length,
    charge: { direction: 'write', bytes: length },
    run: (data, cancel) =>
      readModifyWrite(unit, offset, length, durable, cancel, (found) => {
        mustEqual(found, data.subarray(0, length))
        return data.subarray(length, 2 * length)
      }),
  }
}

function orWrite(context: CommandContext): Plan {
  const { unit, cdb } = context
  refuseProtection(cdb)
  const { offset, length } = collected(context)
  return {
    kind: 'collect',
    length,
    charge: { direction: 'write', bytes: length },
    run: (data, cancel) => {
      const whole = data.byteLength - (data.byteLength % unit.blockSize)
      return readModifyWrite(unit, offset, whole, (cdb.readUInt8(1) & 0x08) !== 0, cancel, (found) => {
        for (let at = 0; at < whole; at++) found[at] = (found[at] ?? 0) | (data[at] ?? 0)
        return found
      })
    },
  }
}

/** One step that no other writer of the range comes in between. */
async function readModifyWrite(
  unit: LogicalUnit,
  offset: number,
  length: number,
  durable: boolean,
  cancel: Cancel,
  modify: (found: Buffer) => Uint8Array,
): Promise<Outcome> {
  const held = await unit.lock.acquire(offset, length)
  try {
    const found = Buffer.allocUnsafe(length)
    await unit.read(offset, found, cancel)
    await unit.writeUnlocked(offset, modify(found), cancel)
  } finally {
    unit.lock.release(held)
  }
  if (durable) await unit.flush(cancel)
  return GOOD
}

function sizes(
  name: string,
  plan: CommandDefinition['plan'],
  access: 'read' | 'write',
  variants: readonly [suffix: string, operationCode: number, usage: string][],
): CommandDefinition[] {
  return variants.map(([suffix, operationCode, usage]) => ({
    name: `${name}(${suffix})`,
    operationCode,
    usage,
    access,
    writes: access === 'write',
    plan,
  }))
}

export const verifyCommands: readonly CommandDefinition[] = [
  ...sizes('VERIFY', verify, 'read', [
    ['10', OperationCode.verify10, '2ff6ffffffff00ffff04'],
    ['12', OperationCode.verify12, 'aff6ffffffffffffffff0004'],
    ['16', OperationCode.verify16, '8ff6ffffffffffffffffffffffff0004'],
  ]),
  ...sizes('WRITE AND VERIFY', writeAndVerify, 'write', [
    ['10', OperationCode.writeAndVerify10, '2ef6ffffffff00ffff04'],
    ['12', OperationCode.writeAndVerify12, 'aef6ffffffffffffffff0004'],
    ['16', OperationCode.writeAndVerify16, '8ef6ffffffffffffffffffffffff0004'],
  ]),
  ...sizes('ORWRITE', orWrite, 'write', [
    ['16', OperationCode.orWrite16, '8bf8ffffffffffffffffffffffff0004'],
  ]),
  {
    name: 'COMPARE AND WRITE',
    operationCode: OperationCode.compareAndWrite,
    usage: '89f8ffffffffffffffff000000ff0004',
    access: 'write',
    writes: true,
    plan: compareAndWrite,
  },
]
