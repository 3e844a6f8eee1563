/** RESERVE and RELEASE, 6 and 10, of the whole unit: SPC-2 sections 7.21 to 7.24. Freed by resets and logout. */
import { OperationCode } from '../command-block.ts'
import type { CommandContext, CommandDefinition, Plan } from '../command-table.ts'
import { checkCondition } from '../logical-unit.ts'
import { Conditions } from '../sense.ts'
import { ScsiStatus } from '../status.ts'

function reserve({ unit, nexus, cdb }: CommandContext): Plan {
  // Third-party reservations and extents are not offered.
  if ((cdb.readUInt8(1) & 0x11) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
  const others = unit.reservedBy !== undefined && unit.reservedBy !== nexus.id
  if (others || unit.reservations.registrations.size > 0) {
    return { kind: 'done', status: ScsiStatus.reservationConflict }
  }
  unit.reservedBy = nexus.id
  return { kind: 'done' }
}

function release({ unit, nexus, cdb }: CommandContext): Plan {
  if ((cdb.readUInt8(1) & 0x11) !== 0) throw checkCondition(Conditions.invalidFieldInCommand)
  if (unit.reservations.registrations.size > 0)
    return { kind: 'done', status: ScsiStatus.reservationConflict }
  // Somebody else's reservation is left alone, without an error.
  if (unit.reservedBy === nexus.id) unit.reservedBy = undefined
  return { kind: 'done' }
}

export const reserveCommands: readonly CommandDefinition[] = [
  {
    name: 'RESERVE(6)',
    operationCode: OperationCode.reserve6,
    usage: '161100000004',
    access: 'always',
    plan: reserve,
  },
  {
    name: 'RELEASE(6)',
    operationCode: OperationCode.release6,
    usage: '171100000004',
    access: 'always',
    plan: release,
  },
  {
    name: 'RESERVE(10)',
    operationCode: OperationCode.reserve10,
    usage: '56110000000000000004',
    access: 'always',
    plan: reserve,
  },
  {
    name: 'RELEASE(10)',
    operationCode: OperationCode.release10,
    usage: '57110000000000000004',
    access: 'always',
    plan: release,
  },
]
