/** The disk's command table, and the rules that come before any command: SPC-4, SBC-3, SAM-5. */
import { ScsiError } from '../errors.ts'
import { refusalIn } from './access-state.ts'
import { OperationCode } from './command-block.ts'
import {
  answer,
  type CommandContext,
  type CommandDefinition,
  type Plan,
  type UnitHost,
} from './command-table.ts'
import { capacityCommands } from './commands/capacity.ts'
import { defectCommands } from './commands/defects.ts'
import { extendedCopyCommands } from './commands/extended-copy.ts'
import { identityCommands, inquiry, reportLuns } from './commands/identity.ts'
import { modeCommands } from './commands/mode.ts'
import { persistentReserveCommands } from './commands/persistent-reserve.ts'
import { reportCommands } from './commands/report.ts'
import { reserveCommands } from './commands/reserve.ts'
import { thinCommands } from './commands/thin.ts'
import { transferCommands } from './commands/transfer.ts'
import { verifyCommands } from './commands/verify.ts'
import { checkCondition } from './logical-unit.ts'
import { Conditions, encodeSense } from './sense.ts'
import { ScsiStatus } from './status.ts'

const COMMANDS: readonly CommandDefinition[] = [
  ...identityCommands,
  ...capacityCommands,
  ...defectCommands,
  ...transferCommands,
  ...verifyCommands,
  ...thinCommands,
  ...extendedCopyCommands,
  ...modeCommands,
  ...reserveCommands,
  ...persistentReserveCommands,
  ...reportCommands(() => COMMANDS),
]

/** By operation code; a list where service actions tell commands apart. */
const BY_OPERATION_CODE: readonly (CommandDefinition | readonly CommandDefinition[] | undefined)[] =
  Array.from({ length: 256 }, (_, operationCode) => {
    const found = COMMANDS.filter((command) => command.operationCode === operationCode)
    return found[0]?.serviceAction === undefined ? found[0] : found
  })

/** Bits of byte 1 that tell the commands of one operation code apart. */
const SERVICE_ACTION_MASK = 0x1f
const NACA = 0x04

const RESERVATION_CONFLICT: Plan = { kind: 'done', status: ScsiStatus.reservationConflict }

/**
 * Turns a command block into work, or into its answer.
 * @throws ScsiError to end the command with CHECK CONDITION
 */
export function planCommand(context: CommandContext): Plan {
  const { unit, nexus, cdb } = context
  const command = find(context)
  if (!command?.unconditional) {
    const attention = unit.takeAttention(nexus.id)
    if (attention) throw checkCondition(attention)
  }
  if (!command) throw unknown(cdb)
  if ((cdb.readUInt8(cdbControlByte(cdb)) & NACA) !== 0)
    throw checkCondition(Conditions.invalidFieldInCommand)
  const refusal = refusalIn(context.host.accessState, command)
  if (refusal) throw checkCondition(refusal)
  if (conflicts(context, command)) return RESERVATION_CONFLICT
  if (command.writes && unit.writeProtected) {
    throw checkCondition(
      unit.softwareWriteProtect ? Conditions.softwareWriteProtected : Conditions.writeProtected,
    )
  }
  return command.plan(context)
}

function find({ unit, cdb }: CommandContext): CommandDefinition | undefined {
  const entry = BY_OPERATION_CODE[cdb.readUInt8(0)]
  let command: CommandDefinition | undefined
  if (entry === undefined || 'plan' in entry) command = entry
  else command = entry.find((each) => each.serviceAction === (cdb.readUInt8(1) & SERVICE_ACTION_MASK))
  return command?.supported && !command.supported(unit) ? undefined : command
}

/** A known operation code with an unknown service action is a bad field; anything else a bad operation code. */
function unknown(cdb: Buffer): ScsiError {
  const known = Array.isArray(BY_OPERATION_CODE[cdb.readUInt8(0)])
  return checkCondition(known ? Conditions.invalidFieldInCommand : Conditions.invalidOperationCode)
}

function cdbControlByte(cdb: Buffer): number {
  const group = cdb.readUInt8(0) >> 5
  return group === 0 ? 5 : group === 1 || group === 2 ? 9 : group === 5 ? 11 : 15
}

function conflicts({ unit, nexus, cdb }: CommandContext, command: CommandDefinition): boolean {
  if (unit.reservedBy !== undefined && unit.reservedBy !== nexus.id) {
    const code = cdb.readUInt8(0)
    const isRelease = code === OperationCode.release6 || code === OperationCode.release10
    if (!command.unconditional && !isRelease) return true
  }
  return unit.reservations.conflicts(nexus.id, command.access)
}

/** Commands to a LUN that has no unit. @throws ScsiError for all but those that find out about it */
export function planWithoutUnit(cdb: Buffer, host: UnitHost): Plan {
  switch (cdb.readUInt8(0)) {
    case OperationCode.inquiry:
      return answer(inquiry(cdb, undefined, host), cdb.readUInt16BE(3))
    case OperationCode.reportLuns:
      return answer(reportLuns(cdb, host), cdb.readUInt32BE(6))
    case OperationCode.requestSense:
      return answer(
        encodeSense(Conditions.logicalUnitNotSupported, (cdb.readUInt8(1) & 1) !== 0),
        cdb.readUInt8(4),
      )
    default:
      throw checkCondition(Conditions.logicalUnitNotSupported)
  }
}

/** What an error that ended a command looks like to the initiator. */
export function senseOf(error: unknown): { status: number; sense: Parameters<typeof encodeSense>[0] } {
  if (!(error instanceof ScsiError)) {
    return { status: ScsiStatus.checkCondition, sense: Conditions.internalTargetFailure }
  }
  const { status, senseKey: key, asc, ascq, information } = error
  return { status, sense: information === undefined ? { key, asc, ascq } : { key, asc, ascq, information } }
}
