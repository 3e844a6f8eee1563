/** READ, WRITE, PRE-FETCH and SYNCHRONIZE CACHE in all their sizes: SBC-3 chapter 5. */
import { logicalBlockAddress, OperationCode, transferBlocks } from '../command-block.ts'
import type { CommandContext, CommandDefinition, Plan } from '../command-table.ts'
import { checkCondition } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'
import { ScsiStatus } from '../status.ts'
import { MAX_TRANSFER_BYTES } from './limits.ts'

/** Refuses protection information, which these units do not have. Byte 1, bits 7-5. */
export function refuseProtection(cdb: Buffer): void {
  if ((cdb.readUInt8(1) & 0xe0) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
}

/** The bytes a command addresses. @throws ScsiError outside the unit, or over the longest transfer */
export function addressed({ unit, cdb }: CommandContext): { offset: number; length: number } {
  const blocks = transferBlocks(cdb)
  const offset = unit.byteRange(logicalBlockAddress(cdb), blocks)
  const length = blocks * unit.blockSize
  if (length > MAX_TRANSFER_BYTES) throw checkCondition(Conditions.invalidFieldInCommand)
  return { offset, length }
}

function read6(context: CommandContext): Plan {
  return { kind: 'read', ...addressed(context), durable: false }
}

function read(context: CommandContext): Plan {
  refuseProtection(context.cdb)
  return { kind: 'read', ...addressed(context), durable: (context.cdb.readUInt8(1) & 0x08) !== 0 }
}

function write6(context: CommandContext): Plan {
  return { kind: 'write', ...addressed(context), durable: false }
}

function write(context: CommandContext): Plan {
  refuseProtection(context.cdb)
  return { kind: 'write', ...addressed(context), durable: (context.cdb.readUInt8(1) & 0x08) !== 0 }
}

function preFetch({ unit, cdb }: CommandContext): Plan {
  unit.byteRange(logicalBlockAddress(cdb), transferBlocks(cdb))
  // GOOD: the cache (the operating system's) makes no promise to hold all of it.
  return { kind: 'done', status: ScsiStatus.good }
}

function synchronizeCache({ unit, cdb }: CommandContext): Plan {
  unit.byteRange(logicalBlockAddress(cdb), transferBlocks(cdb))
  // IMMED allows an early answer; it does not ask for one. Late is safe.
  return {
    kind: 'run',
    run: async (cancel) => {
      await unit.flush(cancel)
      return {}
    },
  }
}

export const transferCommands: readonly CommandDefinition[] = [
  { name: 'READ(6)', operationCode: OperationCode.read6, usage: '081fffffff04', access: 'read', plan: read6 },
  {
    name: 'READ(10)',
    operationCode: OperationCode.read10,
    usage: '28f8ffffffff00ffff04',
    access: 'read',
    plan: read,
  },
  {
    name: 'READ(12)',
    operationCode: OperationCode.read12,
    usage: 'a8f8ffffffffffffffff0004',
    access: 'read',
    plan: read,
  },
  {
    name: 'READ(16)',
    operationCode: OperationCode.read16,
    usage: '88f8ffffffffffffffffffffffff0004',
    access: 'read',
    plan: read,
  },
  {
    name: 'WRITE(6)',
    operationCode: OperationCode.write6,
    usage: '0a1fffffff04',
    access: 'write',
    writes: true,
    plan: write6,
  },
  {
    name: 'WRITE(10)',
    operationCode: OperationCode.write10,
    usage: '2af8ffffffff00ffff04',
    access: 'write',
    writes: true,
    plan: write,
  },
  {
    name: 'WRITE(12)',
    operationCode: OperationCode.write12,
    usage: 'aaf8ffffffffffffffff0004',
    access: 'write',
    writes: true,
    plan: write,
  },
  {
    name: 'WRITE(16)',
    operationCode: OperationCode.write16,
    usage: '8af8ffffffffffffffffffffffff0004',
    access: 'write',
    writes: true,
    plan: write,
  },
  {
    name: 'PRE-FETCH(10)',
    operationCode: OperationCode.preFetch10,
    usage: '3402ffffffff00ffff04',
    access: 'read',
    plan: preFetch,
  },
  {
    name: 'PRE-FETCH(16)',
    operationCode: OperationCode.preFetch16,
    usage: '9002ffffffffffffffffffffffff0004',
    access: 'read',
    plan: preFetch,
  },
  {
    name: 'SYNCHRONIZE CACHE(10)',
    operationCode: OperationCode.synchronizeCache10,
    usage: '3502ffffffff00ffff04',
    access: 'write',
    plan: synchronizeCache,
  },
  {
    name: 'SYNCHRONIZE CACHE(16)',
    operationCode: OperationCode.synchronizeCache16,
    usage: '9102ffffffffffffffffffffffff0004',
    access: 'write',
    plan: synchronizeCache,
  },
]
