/**
 * Command descriptor blocks (SPC-4, SBC-3): building them, for an initiator, and reading the fields of those
 * that address blocks, for both. All block counts and addresses are logical blocks, not bytes. Every block
 * built here has 16 bytes, the size in which iSCSI carries them.
 */

export const OperationCode = {
  testUnitReady: 0x00,
  requestSense: 0x03,
  read6: 0x08,
  write6: 0x0a,
  inquiry: 0x12,
  modeSelect6: 0x15,
  reserve6: 0x16,
  release6: 0x17,
  modeSense6: 0x1a,
  startStopUnit: 0x1b,
  preventAllowMediumRemoval: 0x1e,
  readCapacity10: 0x25,
  read10: 0x28,
  write10: 0x2a,
  writeAndVerify10: 0x2e,
  verify10: 0x2f,
  preFetch10: 0x34,
  synchronizeCache10: 0x35,
  readDefectData10: 0x37,
  writeSame10: 0x41,
  unmap: 0x42,
  modeSelect10: 0x55,
  reserve10: 0x56,
  release10: 0x57,
  modeSense10: 0x5a,
  persistentReserveIn: 0x5e,
  persistentReserveOut: 0x5f,
  extendedCopy: 0x83,
  receiveCopyResults: 0x84,
  read16: 0x88,
  compareAndWrite: 0x89,
  write16: 0x8a,
  orWrite16: 0x8b,
  writeAndVerify16: 0x8e,
  verify16: 0x8f,
  preFetch16: 0x90,
  synchronizeCache16: 0x91,
  writeSame16: 0x93,
  serviceActionIn16: 0x9e,
  reportLuns: 0xa0,
  maintenanceIn: 0xa3,
  maintenanceOut: 0xa4,
  read12: 0xa8,
  write12: 0xaa,
  writeAndVerify12: 0xae,
  verify12: 0xaf,
  readDefectData12: 0xb7,
} as const

/** Service actions of SERVICE ACTION IN(16), MAINTENANCE IN, EXTENDED COPY and RECEIVE COPY RESULTS. */
export const ServiceAction = {
  extendedCopyLid1: 0x00,
  copyStatus: 0x00,
  operatingParameters: 0x03,
  readCapacity16: 0x10,
  getLbaStatus: 0x12,
  reportTargetPortGroups: 0x0a,
  reportSupportedOperationCodes: 0x0c,
  reportSupportedTaskManagementFunctions: 0x0d,
} as const

/** Exact up to 2^53: devices of this package end far below. */
export function readUInt64(from: Buffer, at: number): number {
  return from.readUInt32BE(at) * 0x1_0000_0000 + from.readUInt32BE(at + 4)
}

export function writeUInt64(value: number, into: Buffer, at: number): void {
  into.writeUInt32BE(Math.floor(value / 0x1_0000_0000), at)
  into.writeUInt32BE(value % 0x1_0000_0000, at + 4)
}

/** Bytes of a command block, from the group in its operation code (SPC-4 section 4.2.5.1). */
export function commandBlockLength(operationCode: number): number {
  const group = operationCode >> 5
  return group === 0 ? 6 : group === 1 || group === 2 ? 10 : group === 5 ? 12 : 16
}

/** LBA of a command that addresses blocks, from where the length of its command block puts it. */
export function logicalBlockAddress(cdb: Buffer): number {
  switch (cdb.readUInt8(0) >> 5) {
    case 0:
      return cdb.readUInt32BE(0) & 0x1fffff
    case 4:
      return readUInt64(cdb, 2)
    default:
      return cdb.readUInt32BE(2)
  }
}

/** Number of blocks of a command that addresses blocks. In six-byte commands 0 means 256. */
export function transferBlocks(cdb: Buffer): number {
  switch (cdb.readUInt8(0) >> 5) {
    case 0:
      return cdb.readUInt8(4) || 256
    case 1:
    case 2:
      return cdb.readUInt16BE(7)
    case 5:
      return cdb.readUInt32BE(6)
    default:
      return cdb.readUInt32BE(10)
  }
}

function block10(operationCode: number, flags: number, lba: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(operationCode, 0)
  cdb.writeUInt8(flags, 1)
  cdb.writeUInt32BE(lba, 2)
  cdb.writeUInt16BE(blocks, 7)
  return cdb
}

function block16(operationCode: number, flags: number, lba: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(operationCode, 0)
  cdb.writeUInt8(flags, 1)
  writeUInt64(lba, cdb, 2)
  cdb.writeUInt32BE(blocks, 10)
  return cdb
}

/** Whether a range fits the ten-byte commands. */
function fits10(lba: number, blocks: number): boolean {
  return lba + blocks <= 0x1_0000_0000 && blocks <= 0xffff
}

/** READ(10), or READ(16) where the range needs it. */
export function readCommand(lba: number, blocks: number, options: { fua?: boolean } = {}): Buffer {
  const flags = options.fua ? 0x08 : 0
  return fits10(lba, blocks)
    ? block10(OperationCode.read10, flags, lba, blocks)
    : block16(OperationCode.read16, flags, lba, blocks)
}

/** WRITE(10), or WRITE(16) where the range needs it. */
export function writeCommand(lba: number, blocks: number, options: { fua?: boolean } = {}): Buffer {
  const flags = options.fua ? 0x08 : 0
  return fits10(lba, blocks)
    ? block10(OperationCode.write10, flags, lba, blocks)
    : block16(OperationCode.write16, flags, lba, blocks)
}

/** SYNCHRONIZE CACHE(10) of the whole unit: zero blocks mean "to the end". */
export function synchronizeCacheCommand(): Buffer {
  return block10(OperationCode.synchronizeCache10, 0, 0, 0)
}

/** UNMAP; the parameter list is `encodeUnmapList`. */
export function unmapCommand(parameterListLength: number): Buffer {
  return block10(OperationCode.unmap, 0, 0, parameterListLength)
}

/** Parameter list of UNMAP (SBC-3 section 5.28): 8 bytes of header, 16 for each range. */
export function encodeUnmapList(ranges: readonly { lba: number; blocks: number }[]): Buffer {
  const list = Buffer.alloc(8 + 16 * ranges.length)
  list.writeUInt16BE(list.byteLength - 2, 0)
  list.writeUInt16BE(16 * ranges.length, 2)
  ranges.forEach((range, index) => {
    writeUInt64(range.lba, list, 8 + 16 * index)
    list.writeUInt32BE(range.blocks, 16 + 16 * index)
  })
  return list
}

/** WRITE SAME(16). Its data is one block, unless `noData` (NDOB) says that the block is all zeroes. */
export function writeSameCommand(
  lba: number,
  blocks: number,
  options: { unmap?: boolean; noData?: boolean } = {},
): Buffer {
  const flags = (options.unmap ? 0x08 : 0) | (options.noData ? 0x01 : 0)
  return block16(OperationCode.writeSame16, flags, lba, blocks)
}

export function testUnitReadyCommand(): Buffer {
  return Buffer.alloc(16)
}

/** INQUIRY, of standard data or of one vital product data page. */
export function inquiryCommand(allocationLength: number, page?: number): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(OperationCode.inquiry, 0)
  if (page !== undefined) {
    cdb.writeUInt8(1, 1)
    cdb.writeUInt8(page, 2)
  }
  cdb.writeUInt16BE(allocationLength, 3)
  return cdb
}

export function reportLunsCommand(allocationLength: number): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(OperationCode.reportLuns, 0)
  cdb.writeUInt32BE(allocationLength, 6)
  return cdb
}

export function readCapacity10Command(): Buffer {
  return block10(OperationCode.readCapacity10, 0, 0, 0)
}

export function readCapacity16Command(allocationLength = 32): Buffer {
  return block16(OperationCode.serviceActionIn16, ServiceAction.readCapacity16, 0, allocationLength)
}

export function getLbaStatusCommand(lba: number, allocationLength: number): Buffer {
  return block16(OperationCode.serviceActionIn16, ServiceAction.getLbaStatus, lba, allocationLength)
}

/** MODE SENSE(6), current values, without block descriptors. */
export function modeSense6Command(page: number, allocationLength = 255): Buffer {
  const cdb = Buffer.alloc(16)
  cdb.writeUInt8(OperationCode.modeSense6, 0)
  cdb.writeUInt8(0x08, 1)
  cdb.writeUInt8(page, 2)
  cdb.writeUInt8(allocationLength, 4)
  return cdb
}

/** COMPARE AND WRITE: its data is the blocks to compare, then as many to write. */
export function compareAndWriteCommand(lba: number, blocks: number): Buffer {
  const cdb = block16(OperationCode.compareAndWrite, 0, lba, 0)
  cdb.writeUInt8(blocks, 13)
  return cdb
}
