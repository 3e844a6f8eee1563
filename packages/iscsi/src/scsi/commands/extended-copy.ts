/** EXTENDED COPY(LID1) and RECEIVE COPY RESULTS: SPC-4 sections 6.4 to 6.6, 6.18, 6.20. Copies within this process. */
import type { Cancel } from '../../block-device.ts'
import { OperationCode, ServiceAction } from '../command-block.ts'
import {
  answer,
  type CommandContext,
  type CommandDefinition,
  GOOD,
  type Outcome,
  type Plan,
  type UnitAccess,
} from '../command-table.ts'
import {
  BLOCK_TO_BLOCK_SEGMENT,
  COPY_HEADER_BYTES,
  type CopyParameters,
  type CopySegment,
  IDENTIFICATION_DESCRIPTOR,
  MAX_COPY_SEGMENTS,
  MAX_COPY_UNITS,
  MAX_DESCRIPTOR_BYTES,
  parseCopyParameters,
} from '../copy-parameters.ts'
import type { CopyResult } from '../copy-results.ts'
import { checkCondition, SLICE_BYTES } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'

/** Bytes that one segment may cover: 65535 blocks of the longest size. */
const MAX_SEGMENT_BYTES = 0xffff * 65536
/** How many copies may be under way: each holds a slice in memory. */
const MAX_CONCURRENT_COPIES = 16

function extendedCopy(context: CommandContext): Plan {
  const length = context.cdb.readUInt32BE(10)
  if (length === 0) return { kind: 'done' }
  if (length < COPY_HEADER_BYTES || length > COPY_HEADER_BYTES + MAX_DESCRIPTOR_BYTES + 65536) {
    throw checkCondition(Conditions.parameterListLengthError)
  }
  return {
    kind: 'collect',
    length,
    run: (list, cancel) => copy(context, parseCopyParameters(list), cancel),
  }
}

async function copy(context: CommandContext, parameters: CopyParameters, cancel: Cancel): Promise<Outcome> {
  const { unit, nexus, host } = context
  const units = parameters.units.map((designator) => host.unitNamed(designator, nexus))
  const result: CopyResult = parameters.held
    ? unit.copies.begin(nexus.id, parameters.listId)
    : { status: 0, segmentsDone: 0, bytesDone: 0 }
  try {
    for (const segment of parameters.segments) {
      await copySegment(segment, units, result, cancel)
      result.segmentsDone += 1
    }
    result.status = 1
    return GOOD
  } catch (error) {
    result.status = 2
    throw error
  }
}

async function copySegment(
  segment: CopySegment,
  units: readonly (UnitAccess | undefined)[],
  result: CopyResult,
  cancel: Cancel,
): Promise<void> {
  const from = units[segment.source]
  const to = units[segment.destination]
  if (!from || !to) throw checkCondition(Conditions.copyTargetNotReachable)
  if (from.conflicts('read') || to.conflicts('write') || to.unit.writeProtected) {
    throw checkCondition(Conditions.copyAborted)
  }
  const length = segment.blocks * (segment.countsDestination ? to.unit : from.unit).blockSize
  if (length % from.unit.blockSize !== 0 || length % to.unit.blockSize !== 0) {
    throw checkCondition(Conditions.unexpectedInexactSegment)
  }
  const source = rangeOf(from, segment.sourceLba, length)
  const destination = rangeOf(to, segment.destinationLba, length)
  const slice = Buffer.allocUnsafe(Math.min(length, SLICE_BYTES))
  // Overlapping ranges of one unit: from the end that is not yet overwritten.
  const backwards = from.unit === to.unit && source < destination && destination < source + length
  for (let done = 0; done < length; ) {
    const bytes = Math.min(slice.byteLength, length - done)
    const at = backwards ? length - done - bytes : done
    const data = slice.subarray(0, bytes)
    await from.unit.turn('read', bytes, cancel)
    await from.unit.read(source + at, data, cancel)
    await to.unit.turn('write', bytes, cancel)
    await to.unit.write(destination + at, data, cancel)
    done += bytes
    result.bytesDone += bytes
  }
}

/** A range outside a unit ends the copy, not the command: the key is COPY ABORTED. */
function rangeOf({ unit }: UnitAccess, lba: number, length: number): number {
  if ((lba + length / unit.blockSize) * unit.blockSize > unit.blocks * unit.blockSize) {
    throw checkCondition(Conditions.copyAborted)
  }
  return lba * unit.blockSize
}

function copyStatus({ unit, nexus, cdb }: CommandContext): Plan {
  const result = unit.copies.get(nexus.id, cdb.readUInt8(2))
  if (!result) throw checkCondition(Conditions.invalidFieldInCommand)
  const data = Buffer.alloc(12)
  data.writeUInt32BE(data.byteLength - 4, 0)
  data.writeUInt8(result.status, 4)
  data.writeUInt16BE(result.segmentsDone, 5)
  data.writeUInt8(1, 7) // the count is in KiB
  data.writeUInt32BE(Math.min(0xffffffff, Math.floor(result.bytesDone / 1024)), 8)
  return answer(data, cdb.readUInt32BE(10))
}

function operatingParameters({ cdb }: CommandContext): Plan {
  const types = [BLOCK_TO_BLOCK_SEGMENT, IDENTIFICATION_DESCRIPTOR]
  const data = Buffer.alloc(44 + types.length)
  data.writeUInt32BE(data.byteLength - 4, 0)
  data.writeUInt8(0x01, 4) // list identifiers may be left out (SNLID)
  data.writeUInt16BE(MAX_COPY_UNITS, 8)
  data.writeUInt16BE(MAX_COPY_SEGMENTS, 10)
  data.writeUInt32BE(MAX_DESCRIPTOR_BYTES, 12)
  data.writeUInt32BE(MAX_SEGMENT_BYTES, 16)
  data.writeUInt8(MAX_CONCURRENT_COPIES, 36)
  data.writeUInt8(9, 37) // segments are whole blocks: 2^9 bytes
  data.writeUInt8(types.length, 43)
  Buffer.from(types).copy(data, 44)
  return answer(data, cdb.readUInt32BE(10))
}

/** The body of VPD page 8F, third-party copy: SPC-4 section 7.8.17. */
export function thirdPartyCopyPage(): Buffer {
  return Buffer.concat([
    descriptor(
      0x0001,
      withLength([
        ...[OperationCode.extendedCopy, 1, ServiceAction.extendedCopyLid1],
        ...[OperationCode.receiveCopyResults, 2, ServiceAction.copyStatus, ServiceAction.operatingParameters],
      ]),
    ),
    descriptor(0x0004, limits()),
    descriptor(0x0008, withLength([BLOCK_TO_BLOCK_SEGMENT, IDENTIFICATION_DESCRIPTOR])),
    descriptor(0x8001, generalCopyOperations()),
  ])
}

function limits(): Buffer {
  const body = Buffer.alloc(28)
  body.writeUInt16BE(MAX_COPY_UNITS, 4)
  body.writeUInt16BE(MAX_COPY_SEGMENTS, 6)
  body.writeUInt32BE(MAX_DESCRIPTOR_BYTES, 8)
  return body
}

function generalCopyOperations(): Buffer {
  const body = Buffer.alloc(32)
  body.writeUInt32BE(MAX_CONCURRENT_COPIES, 0)
  body.writeUInt32BE(MAX_CONCURRENT_COPIES, 4)
  body.writeUInt32BE(MAX_SEGMENT_BYTES, 8)
  body.writeUInt8(9, 12)
  return body
}

function withLength(bytes: readonly number[]): Buffer {
  return Buffer.from([bytes.length, ...bytes])
}

/** Descriptors are padded to whole words, and their length counts the padding. */
function descriptor(type: number, body: Buffer): Buffer {
  const whole = Buffer.alloc(4 + ((body.byteLength + 3) & ~3))
  whole.writeUInt16BE(type, 0)
  whole.writeUInt16BE(whole.byteLength - 4, 2)
  body.copy(whole, 4)
  return whole
}

export const extendedCopyCommands: readonly CommandDefinition[] = [
  {
    name: 'EXTENDED COPY(LID1)',
    operationCode: OperationCode.extendedCopy,
    serviceAction: ServiceAction.extendedCopyLid1,
    usage: '83000000000000000000ffffffff0004',
    access: 'write',
    plan: extendedCopy,
  },
  {
    name: 'RECEIVE COPY RESULTS: COPY STATUS',
    operationCode: OperationCode.receiveCopyResults,
    serviceAction: ServiceAction.copyStatus,
    usage: '8400ff00000000000000ffffffff0004',
    access: 'always',
    plan: copyStatus,
  },
  {
    name: 'RECEIVE COPY RESULTS: OPERATING PARAMETERS',
    operationCode: OperationCode.receiveCopyResults,
    serviceAction: ServiceAction.operatingParameters,
    usage: '84030000000000000000ffffffff0004',
    access: 'always',
    plan: operatingParameters,
  },
]
