/** Reports about the command set itself and the target's ports: SPC-4 sections 6.34, 6.35, 6.37. */
import { AccessState, SUPPORTED_STATES } from '../access-state.ts'
import { commandBlockLength, OperationCode, ServiceAction } from '../command-block.ts'
import { answer, type CommandContext, type CommandDefinition, type Plan } from '../command-table.ts'
import { checkCondition, type LogicalUnit } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'

/** Operation codes that need a service action to say which command is meant. */
const WITH_SERVICE_ACTION: ReadonlySet<number> = new Set([
  OperationCode.persistentReserveIn,
  OperationCode.persistentReserveOut,
  OperationCode.serviceActionIn16,
  OperationCode.maintenanceIn,
  OperationCode.extendedCopy,
  OperationCode.receiveCopyResults,
])

/** @param all every command there is; those the unit does not support are left out */
export function reportCommands(all: () => readonly CommandDefinition[]): readonly CommandDefinition[] {
  return [
    {
      name: 'REPORT SUPPORTED OPERATION CODES',
      operationCode: OperationCode.maintenanceIn,
      serviceAction: ServiceAction.reportSupportedOperationCodes,
      usage: 'a30c87ffffffffffffff0004',
      access: 'always',
      inEveryState: true,
      plan: (context) => reportOperationCodes(context, supportedBy(context.unit, all())),
    },
    {
      name: 'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS',
      operationCode: OperationCode.maintenanceIn,
      serviceAction: ServiceAction.reportSupportedTaskManagementFunctions,
      usage: 'a30d80000000ffffffff0004',
      access: 'always',
      // abort task, abort task set, clear task set, logical unit reset, target reset
      plan: ({ cdb }) =>
        (cdb.readUInt8(2) & 0x80) !== 0
          ? answer(longTaskFunctions(), cdb.readUInt32BE(6))
          : answer(Buffer.from([0xda, 0, 0, 0]), cdb.readUInt32BE(6)),
    },
    {
      name: 'REPORT TARGET PORT GROUPS',
      operationCode: OperationCode.maintenanceIn,
      serviceAction: ServiceAction.reportTargetPortGroups,
      usage: 'a3ea00000000ffffffff0004',
      access: 'always',
      inEveryState: true,
      plan: reportTargetPortGroups,
    },
  ]
}

function longTaskFunctions(): Buffer {
  const data = Buffer.alloc(16)
  data.writeUInt8(0xda, 0)
  data.writeUInt8(12, 3)
  return data
}

function supportedBy(unit: LogicalUnit, all: readonly CommandDefinition[]): CommandDefinition[] {
  return all.filter((command) => command.supported?.(unit) ?? true)
}

function reportOperationCodes({ cdb }: CommandContext, supported: readonly CommandDefinition[]): Plan {
  const timeouts = (cdb.readUInt8(2) & 0x80) !== 0
  const option = cdb.readUInt8(2) & 7
  const operationCode = cdb.readUInt8(3)
  const serviceAction = cdb.readUInt16BE(4)
  const allocationLength = cdb.readUInt32BE(6)
  if (option === 0) return answer(allOperationCodes(supported, timeouts), allocationLength)
  if (option > 3) throw checkCondition(Conditions.invalidFieldInCommand)
  const needsAction = WITH_SERVICE_ACTION.has(operationCode)
  if ((option === 1 && needsAction) || (option === 2 && !needsAction)) {
    throw checkCondition(Conditions.invalidFieldInCommand)
  }
  const found = supported.find(
    (command) =>
      command.operationCode === operationCode &&
      (command.serviceAction === undefined || command.serviceAction === serviceAction),
  )
  return answer(oneOperationCode(found, timeouts), allocationLength)
}

/** "Not specified" for both timeouts. */
function timeoutDescriptor(): Buffer {
  const descriptor = Buffer.alloc(12)
  descriptor.writeUInt16BE(10, 0)
  return descriptor
}

function allOperationCodes(supported: readonly CommandDefinition[], timeouts: boolean): Buffer {
  const descriptors = supported.map((command) => {
    const descriptor = Buffer.alloc(8)
    descriptor.writeUInt8(command.operationCode, 0)
    descriptor.writeUInt16BE(command.serviceAction ?? 0, 2)
    descriptor.writeUInt8((timeouts ? 0x02 : 0) | (command.serviceAction === undefined ? 0 : 0x01), 5)
    descriptor.writeUInt16BE(commandBlockLength(command.operationCode), 6)
    return timeouts ? Buffer.concat([descriptor, timeoutDescriptor()]) : descriptor
  })
  const body = Buffer.concat(descriptors)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(body.byteLength)
  return Buffer.concat([length, body])
}

function oneOperationCode(command: CommandDefinition | undefined, timeouts: boolean): Buffer {
  if (!command) return Buffer.from([0, 0x01, 0, 0]) // not supported
  const usage = Buffer.from(command.usage, 'hex')
  const header = Buffer.alloc(4)
  header.writeUInt8((timeouts ? 0x80 : 0) | 0x03, 1)
  header.writeUInt16BE(usage.byteLength, 2)
  return Buffer.concat(timeouts ? [header, usage, timeoutDescriptor()] : [header, usage])
}

/** Every group with its one port: a portal group's tag is also the number of its port. */
function reportTargetPortGroups({ host, cdb }: CommandContext): Plan {
  const format = cdb.readUInt8(1) >> 5
  if (format > 1) throw checkCondition(Conditions.invalidFieldInCommand)
  const groups = host.portalGroups().map(({ tag, state }) => {
    const group = Buffer.alloc(12)
    const preferred = state === 'activeOptimized' ? 0x80 : 0
    group.writeUInt8(preferred | AccessState[state], 0)
    group.writeUInt8(SUPPORTED_STATES, 1)
    group.writeUInt16BE(tag, 2)
    group.writeUInt8(0x02, 5) // set by implicit change
    group.writeUInt8(1, 7)
    group.writeUInt16BE(tag, 10)
    return group
  })
  const header = Buffer.alloc(format === 1 ? 8 : 4)
  header.writeUInt32BE(12 * groups.length + (format === 1 ? 4 : 0), 0)
  if (format === 1) header.writeUInt8(0x10, 4)
  return answer(Buffer.concat([header, ...groups]), cdb.readUInt32BE(6))
}
