/** READ CAPACITY and GET LBA STATUS: SBC-3 sections 5.15, 5.16, 5.6. */
import { encodeCapacity16 } from '../capacity.ts'
import { OperationCode, readUInt64, ServiceAction } from '../command-block.ts'
import { answer, type CommandContext, type CommandDefinition, type Plan } from '../command-table.ts'
import { encodeLbaStatus, type LbaStatus, Provisioning } from '../lba-status.ts'
import { checkCondition, deviceError, type LogicalUnit } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'

/** Bytes that one GET LBA STATUS looks at: an answer need not go further. */
const STATUS_WINDOW_BYTES = 4 * 1073741824

function readCapacity10({ unit, cdb }: CommandContext): Plan {
  const partial = (cdb.readUInt8(8) & 1) !== 0
  if (!partial && cdb.readUInt32BE(2) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
  const data = Buffer.alloc(8)
  data.writeUInt32BE(Math.min(unit.blocks - 1, 0xffffffff), 0)
  data.writeUInt32BE(unit.blockSize, 4)
  return { kind: 'done', data }
}

function readCapacity16({ unit, cdb }: CommandContext): Plan {
  const partial = (cdb.readUInt8(14) & 1) !== 0
  if (!partial && readUInt64(cdb, 2) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
  const data = encodeCapacity16({
    blocks: unit.blocks,
    blockSize: unit.blockSize,
    physicalBlockExponent: Math.log2((unit.config.physicalBlockSize ?? unit.blockSize) / unit.blockSize),
    thin: unit.thin,
    unmappedReadsZeroes: unit.thin,
  })
  return answer(data, cdb.readUInt32BE(10))
}

function getLbaStatus({ unit, cdb }: CommandContext): Plan {
  const lba = readUInt64(cdb, 2)
  const allocationLength = cdb.readUInt32BE(10)
  if (lba >= unit.blocks) throw checkCondition(Conditions.addressOutOfRange)
  return {
    kind: 'run',
    run: async (cancel) => {
      const length = Math.min((unit.blocks - lba) * unit.blockSize, STATUS_WINDOW_BYTES)
      const extents = await extentsOf(unit, lba * unit.blockSize, length, cancel)
      return { data: encodeLbaStatus(extents, allocationLength).subarray(0, allocationLength) }
    },
  }
}

async function extentsOf(
  unit: LogicalUnit,
  offset: number,
  length: number,
  cancel: { readonly signal: AbortSignal },
): Promise<LbaStatus[]> {
  const descriptors: { lba: number; blocks: number; provisioning: number }[] = []
  try {
    const extents = (await unit.device.extents?.(offset, length, cancel)) ?? [
      { offset, length, state: 'data' as const },
    ]
    for (const extent of extents) {
      const provisioning = extent.state === 'data' ? Provisioning.mapped : Provisioning.deallocated
      const blocks = extent.length / unit.blockSize
      const last = descriptors.at(-1)
      if (last?.provisioning === provisioning) last.blocks += blocks
      else descriptors.push({ lba: extent.offset / unit.blockSize, blocks, provisioning })
    }
  } catch (error) {
    throw deviceError(error, Conditions.unrecoveredReadError)
  }
  return descriptors
}

export const capacityCommands: readonly CommandDefinition[] = [
  {
    name: 'READ CAPACITY(10)',
    operationCode: OperationCode.readCapacity10,
    usage: '2500ffffffff00000104',
    access: 'always',
    plan: readCapacity10,
  },
  {
    name: 'READ CAPACITY(16)',
    operationCode: OperationCode.serviceActionIn16,
    serviceAction: ServiceAction.readCapacity16,
    usage: '9e10ffffffffffffffffffffffff0104',
    access: 'always',
    plan: readCapacity16,
  },
  {
    name: 'GET LBA STATUS',
    operationCode: OperationCode.serviceActionIn16,
    serviceAction: ServiceAction.getLbaStatus,
    usage: '9e12ffffffffffffffffffffffff0004',
    access: 'read',
    supported: (unit) => unit.thin,
    plan: getLbaStatus,
  },
]
