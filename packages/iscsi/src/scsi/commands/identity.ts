/** Commands that say what and where a unit is: SPC-4 sections 6.6 (INQUIRY), 6.33, 6.39, 6.47, chapter 7.8 (pages). */
import { writeLun } from '../../pdu/lun.ts'
import { encodeBlockLimits } from '../block-limits.ts'
import { OperationCode } from '../command-block.ts'
import { answer, type CommandDefinition, type UnitHost } from '../command-table.ts'
import { deviceIdentification, text } from '../designators.ts'
import { checkCondition, type LogicalUnit } from '../logical-unit.ts'
import { Conditions, encodeSense } from '../sense.ts'
import { thirdPartyCopyPage } from './extended-copy.ts'
import {
  COMPARE_AND_WRITE_BYTES,
  MAX_TRANSFER_BYTES,
  MAX_UNMAP_BLOCKS,
  MAX_UNMAP_DESCRIPTORS,
  MAX_WRITE_SAME_BYTES,
} from './limits.ts'

/** Peripheral qualifier 3, type 1F: there is no unit here. */
const ABSENT = 0x7f

/** Standard INQUIRY data; of an absent unit when there is none. */
export function standardInquiry(unit: LogicalUnit | undefined): Buffer {
  const data = Buffer.alloc(96)
  data.writeUInt8(unit ? 0 : ABSENT, 0)
  data.writeUInt8(0x06, 2) // SPC-4
  data.writeUInt8(0x12, 3) // hierarchical LUNs, response format 2
  data.writeUInt8(data.byteLength - 5, 4)
  data.writeUInt8(0x18, 5) // implicit asymmetric access, third-party copy
  data.writeUInt8(0x02, 7) // command queueing
  data.write(text(unit?.config.vendor ?? 'DATERA', 8), 8, 'latin1')
  data.write(text(unit?.config.product ?? 'IBLOCK', 16), 16, 'latin1')
  data.write(text(unit?.config.revision ?? '1', 4), 32, 'latin1')
  // SAM-5, iSCSI, SPC-4, SBC-3, no version claimed
  for (const [index, descriptor] of [0x00a0, 0x0960, 0x0460, 0x04c0].entries()) {
    data.writeUInt16BE(descriptor, 58 + 2 * index)
  }
  return data
}

function page(code: number, body: Buffer): Buffer {
  const header = Buffer.alloc(4)
  header.writeUInt8(code, 1)
  header.writeUInt16BE(body.byteLength, 2)
  return Buffer.concat([header, body])
}

const PAGES: Readonly<Record<number, (unit: LogicalUnit, host: UnitHost) => Buffer>> = {
  0: () =>
    page(
      0x00,
      Buffer.from(
        Object.keys(PAGES)
          .map(Number)
          .sort((a, b) => a - b),
      ),
    ),
  128: (unit) =>
    page(0x80, Buffer.from(text(unit.config.serial, Math.min(64, unit.config.serial.length)), 'latin1')),
  131: (unit, host) => page(0x83, deviceIdentification(unit, host)),
  143: () => page(0x8f, thirdPartyCopyPage()),
  176: (unit) => blockLimits(unit),
  177: () => {
    const body = Buffer.alloc(60)
    body.writeUInt16BE(1, 0) // does not rotate
    return page(0xb1, body)
  },
  // threshold exponent 0; UNMAP, WRITE SAME(16) and (10) unmap; unmapped blocks read as zeroes; thin
  178: (unit) => page(0xb2, unit.thin ? Buffer.from([0, 0xe4, 2, 0]) : Buffer.alloc(4)),
}

function blockLimits(unit: LogicalUnit): Buffer {
  const size = unit.blockSize
  return encodeBlockLimits({
    writeSameNonZero: false,
    maximumCompareAndWriteLength: Math.min(255, COMPARE_AND_WRITE_BYTES / size),
    optimalTransferGranularity: Math.max(1, 4096 / size),
    maximumTransferLength: MAX_TRANSFER_BYTES / size,
    optimalTransferLength: 1048576 / size,
    maximumPrefetchLength: 0,
    maximumUnmapBlocks: unit.thin ? MAX_UNMAP_BLOCKS : 0,
    maximumUnmapDescriptors: unit.thin ? MAX_UNMAP_DESCRIPTORS : 0,
    optimalUnmapGranularity: unit.thin ? Math.max(1, 4096 / size) : 0,
    maximumWriteSameLength: MAX_WRITE_SAME_BYTES / size,
  })
}

/** INQUIRY for a unit, or for a LUN without one. @throws ScsiError `invalidFieldInCommand` */
export function inquiry(cdb: Buffer, unit: LogicalUnit | undefined, host: UnitHost): Buffer {
  const code = cdb.readUInt8(2)
  const flags = cdb.readUInt8(1)
  if ((flags & 0x02) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
  if ((flags & 1) === 0) {
    if (code !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
    return standardInquiry(unit)
  }
  const make = unit ? PAGES[code] : undefined
  if (!make || !unit) throw checkCondition(Conditions.invalidFieldInCommand)
  return make(unit, host)
}

/** REPORT LUNS parameter data. @throws ScsiError `invalidFieldInCommand` */
export function reportLuns(cdb: Buffer, host: UnitHost): Buffer {
  const select = cdb.readUInt8(2)
  if (select > 2) throw checkCondition(Conditions.invalidFieldInCommand)
  const numbers = select === 1 ? [] : host.lunNumbers()
  const data = Buffer.alloc(8 + 8 * numbers.length)
  data.writeUInt32BE(8 * numbers.length, 0)
  for (const [index, lun] of numbers.entries()) writeLun(lun, data, 8 + 8 * index)
  return data
}

export const identityCommands: readonly CommandDefinition[] = [
  {
    name: 'TEST UNIT READY',
    operationCode: OperationCode.testUnitReady,
    usage: '000000000004',
    access: 'always',
    plan: () => ({ kind: 'done' }),
  },
  {
    name: 'REQUEST SENSE',
    operationCode: OperationCode.requestSense,
    usage: '03010000ff04',
    access: 'always',
    unconditional: true,
    plan: ({ unit, nexus, cdb }) => {
      const sense = unit.takeAttention(nexus.id) ?? Conditions.noSense
      return answer(encodeSense(sense, (cdb.readUInt8(1) & 1) !== 0), cdb.readUInt8(4))
    },
  },
  {
    name: 'INQUIRY',
    operationCode: OperationCode.inquiry,
    usage: '1201ffffff04',
    access: 'always',
    unconditional: true,
    plan: ({ unit, host, cdb }) => answer(inquiry(cdb, unit, host), cdb.readUInt16BE(3)),
  },
  {
    name: 'REPORT LUNS',
    operationCode: OperationCode.reportLuns,
    usage: 'a000ff000000ffffffff0004',
    access: 'always',
    unconditional: true,
    plan: ({ host, cdb }) => answer(reportLuns(cdb, host), cdb.readUInt32BE(6)),
  },
  {
    name: 'START STOP UNIT',
    operationCode: OperationCode.startStopUnit,
    usage: '1b01000ff704',
    access: 'write',
    // Nothing turns, and nothing can be ejected: accepted, after what is cached is safe.
    plan: ({ unit, cdb }) =>
      (cdb.readUInt8(4) & 1) !== 0
        ? { kind: 'done' }
        : {
            kind: 'run',
            run: async (cancel) => {
              await unit.flush(cancel)
              return {}
            },
          },
  },
  {
    name: 'PREVENT ALLOW MEDIUM REMOVAL',
    operationCode: OperationCode.preventAllowMediumRemoval,
    usage: '1e0000000304',
    access: 'always',
    plan: () => ({ kind: 'done' }),
  },
]
