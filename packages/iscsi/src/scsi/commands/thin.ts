/** UNMAP and WRITE SAME: SBC-3 sections 5.28, 5.42, 5.43. Long ranges go in slices, other commands in between. */
import type { Cancel } from '../../block-device.ts'
import { logicalBlockAddress, OperationCode, readUInt64, transferBlocks } from '../command-block.ts'
import {
  type CommandContext,
  type CommandDefinition,
  GOOD,
  type Outcome,
  type Plan,
} from '../command-table.ts'
import { checkCondition, type LogicalUnit, SLICE_BYTES } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'
import { MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, MAX_WRITE_SAME_BYTES } from './limits.ts'
import { refuseProtection } from './transfer.ts'

/** Bytes given back in one step. */
const UNMAP_SLICE_BYTES = 256 * 1048576

interface ByteRange {
  readonly offset: number
  readonly length: number
}

function unmap({ unit, cdb }: CommandContext): Plan {
  if ((cdb.readUInt8(1) & 1) !== 0) throw checkCondition(Conditions.invalidFieldInCommand) // ANCHOR
  const length = cdb.readUInt16BE(7)
  if (length === 0) return { kind: 'done' }
  if (length < 8) throw checkCondition(Conditions.parameterListLengthError)
  return {
    kind: 'collect',
    length,
    charge: { direction: 'write', bytes: 0 },
    run: async (list, cancel) => {
      for (const range of unmapRanges(unit, list)) {
        await inSlices(range, UNMAP_SLICE_BYTES, (offset, bytes) => unit.unmap(offset, bytes, cancel))
      }
      return GOOD
    },
  }
}

/** All ranges are checked before the first is touched. */
function unmapRanges(unit: LogicalUnit, list: Buffer): ByteRange[] {
  if (list.byteLength < 8) throw checkCondition(Conditions.parameterListLengthError)
  const descriptorBytes = list.readUInt16BE(2)
  const count = Math.floor(Math.min(descriptorBytes, list.byteLength - 8) / 16)
  if (descriptorBytes > list.byteLength - 8) throw checkCondition(Conditions.parameterListLengthError)
  if (count > MAX_UNMAP_DESCRIPTORS) throw checkCondition(Conditions.invalidFieldInParameterList)
  const ranges: ByteRange[] = []
  let total = 0
  for (let at = 8; at < 8 + 16 * count; at += 16) {
    const lba = readUInt64(list, at)
    const blocks = list.readUInt32BE(at + 8)
    if (lba + blocks > unit.blocks) throw checkCondition(Conditions.addressOutOfRange)
    total += blocks
    if (total > MAX_UNMAP_BLOCKS) throw checkCondition(Conditions.invalidFieldInParameterList)
    if (blocks > 0) ranges.push({ offset: lba * unit.blockSize, length: blocks * unit.blockSize })
  }
  return ranges
}

function writeSame(context: CommandContext): Plan {
  const { unit, cdb, dataOutLength } = context
  refuseProtection(cdb)
  const flags = cdb.readUInt8(1)
  const isLong = cdb.readUInt8(0) === OperationCode.writeSame16
  const noData = isLong && (flags & 0x01) !== 0
  const mayUnmap = (flags & 0x08) !== 0
  // ANCHOR, and the obsolete PBDATA and LBDATA, are not offered.
  if ((flags & (isLong ? 0x16 : 0x17)) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
  if (mayUnmap && !unit.thin) throw checkCondition(Conditions.invalidFieldInCommand)
  const lba = logicalBlockAddress(cdb)
  const offset = unit.byteRange(lba, transferBlocks(cdb))
  const blocks = transferBlocks(cdb) || unit.blocks - lba
  const length = blocks * unit.blockSize
  if (length > MAX_WRITE_SAME_BYTES) throw checkCondition(Conditions.invalidFieldInCommand)
  const range = { offset, length }
  // Zeroes and holes move no bytes; a pattern moves all of them.
  if (noData)
    return {
      kind: 'run',
      charge: { direction: 'write', bytes: 0 },
      run: (cancel) => fill(unit, range, undefined, mayUnmap, cancel),
    }
  if (dataOutLength !== unit.blockSize) throw checkCondition(Conditions.invalidFieldInCommand)
  return {
    kind: 'collect',
    length: unit.blockSize,
    charge: { direction: 'write', bytes: mayUnmap ? 0 : length },
    run: (block, cancel) => fill(unit, range, block, mayUnmap, cancel),
  }
}

async function fill(
  unit: LogicalUnit,
  range: ByteRange,
  block: Buffer | undefined,
  mayUnmap: boolean,
  cancel: Cancel,
): Promise<Outcome> {
  // With the UNMAP bit the data does not matter: what is unmapped reads as zeroes.
  if (mayUnmap || !block || block.every((byte) => byte === 0)) {
    const zero = mayUnmap
      ? (offset: number, length: number) => unit.unmap(offset, length, cancel)
      : (offset: number, length: number) => unit.writeZeroes(offset, length, cancel)
    const native = mayUnmap || unit.device.writeZeroes !== undefined
    await inSlices(range, native ? UNMAP_SLICE_BYTES : SLICE_BYTES, zero)
    return GOOD
  }
  const pattern = Buffer.alloc(Math.min(range.length, SLICE_BYTES), block)
  await inSlices(range, SLICE_BYTES, async (offset, length) => {
    await unit.write(offset, pattern.subarray(0, length), cancel)
  })
  return GOOD
}

async function inSlices(
  range: ByteRange,
  sliceBytes: number,
  work: (offset: number, length: number) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < range.length; at += sliceBytes) {
    await work(range.offset + at, Math.min(sliceBytes, range.length - at))
    await new Promise(setImmediate)
  }
}

export const thinCommands: readonly CommandDefinition[] = [
  {
    name: 'UNMAP',
    operationCode: OperationCode.unmap,
    usage: '42010000000000ffff04',
    access: 'write',
    writes: true,
    supported: (unit) => unit.thin,
    plan: unmap,
  },
  {
    name: 'WRITE SAME(10)',
    operationCode: OperationCode.writeSame10,
    usage: '41f8ffffffff00ffff04',
    access: 'write',
    writes: true,
    plan: writeSame,
  },
  {
    name: 'WRITE SAME(16)',
    operationCode: OperationCode.writeSame16,
    usage: '93f9ffffffffffffffffffffffff0004',
    access: 'write',
    writes: true,
    plan: writeSame,
  },
]
