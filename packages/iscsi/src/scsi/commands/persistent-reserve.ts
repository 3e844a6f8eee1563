/** PERSISTENT RESERVE IN and OUT: SPC-4 sections 6.15 and 6.16. */
import { OperationCode } from '../command-block.ts'
import {
  answer,
  type CommandContext,
  type CommandDefinition,
  GOOD,
  type Outcome,
  type Plan,
  type UnitHost,
} from '../command-table.ts'
import { checkCondition, type LogicalUnit } from '../logical-unit.ts'
import { type Nexus, type NexusId, partsOf } from '../nexus.ts'
import { isReservationType, MAX_REGISTRATIONS } from '../persistent-reservations.ts'
import { Conditions } from '../sense.ts'
import { ScsiStatus } from '../status.ts'

const In = { readKeys: 0, readReservation: 1, reportCapabilities: 2, readFullStatus: 3 } as const
const Out = {
  register: 0,
  reserve: 1,
  release: 2,
  clear: 3,
  preempt: 4,
  preemptAndAbort: 5,
  registerAndIgnoreExistingKey: 6,
} as const

const NO_KEY = '0000000000000000'
const LIST_BYTES = 24
const CONFLICT: Outcome = { status: ScsiStatus.reservationConflict }

function key(hex: string): Buffer {
  return Buffer.from(hex, 'hex')
}

function withHeader(generation: number, body: Buffer): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32BE(generation >>> 0, 0)
  header.writeUInt32BE(body.byteLength, 4)
  return Buffer.concat([header, body])
}

function readKeys({ unit, cdb }: CommandContext): Plan {
  const { registrations, generation } = unit.reservations
  return answer(
    withHeader(generation, Buffer.concat([...registrations.values()].map(key))),
    cdb.readUInt16BE(7),
  )
}

function readReservation({ unit, cdb }: CommandContext): Plan {
  const { reservation, registrations, generation, allRegistrants } = unit.reservations
  const body = Buffer.alloc(reservation ? 16 : 0)
  if (reservation) {
    key(allRegistrants ? NO_KEY : (registrations.get(reservation.holder) ?? NO_KEY)).copy(body, 0)
    body.writeUInt8(reservation.type, 13)
  }
  return answer(withHeader(generation, body), cdb.readUInt16BE(7))
}

function reportCapabilities({ unit, cdb }: CommandContext): Plan {
  const { canBeKept, kept } = unit.reservations
  const data = Buffer.alloc(8)
  data.writeUInt16BE(8, 0)
  data.writeUInt8(canBeKept ? 0x01 : 0, 2) // APTPL; neither SPEC_I_PT nor ALL_TG_PT is offered
  data.writeUInt8(0x80 | (kept ? 0x01 : 0), 3) // the type mask holds; the state is kept
  data.writeUInt8(0xea, 4) // all six types
  data.writeUInt8(0x01, 5)
  return answer(data, cdb.readUInt16BE(7))
}

function readFullStatus({ unit, cdb }: CommandContext): Plan {
  const { registrations, reservation, generation } = unit.reservations
  const descriptors = [...registrations].map(([nexus, registered]) => {
    const { initiatorPort, portalGroupTag } = partsOf(nexus)
    const name = Buffer.alloc((Buffer.byteLength(initiatorPort) + 4) & ~3)
    name.write(initiatorPort, 'utf8')
    const transport = Buffer.alloc(4 + name.byteLength)
    transport.writeUInt8(0x45, 0) // iSCSI, initiator port name with its ISID
    transport.writeUInt16BE(name.byteLength, 2)
    name.copy(transport, 4)
    const descriptor = Buffer.alloc(24)
    key(registered).copy(descriptor, 0)
    const holds = unit.reservations.isHolder(nexus)
    descriptor.writeUInt8(holds ? 1 : 0, 12)
    descriptor.writeUInt8(holds ? (reservation?.type ?? 0) : 0, 13)
    descriptor.writeUInt16BE(portalGroupTag, 18)
    descriptor.writeUInt32BE(transport.byteLength, 20)
    return Buffer.concat([descriptor, transport])
  })
  return answer(withHeader(generation, Buffer.concat(descriptors)), cdb.readUInt16BE(7))
}

function persistentReserveOut(context: CommandContext): Plan {
  const { unit, nexus, host, cdb } = context
  const action = cdb.readUInt8(1) & 0x1f
  const length = cdb.readUInt32BE(5)
  if (unit.reservedBy !== undefined) return { kind: 'done', ...CONFLICT }
  if (length !== LIST_BYTES) throw checkCondition(Conditions.parameterListLengthError)
  return {
    kind: 'collect',
    length,
    run: async (list) => {
      if (list.byteLength < LIST_BYTES) throw checkCondition(Conditions.parameterListLengthError)
      const isRegister = action === Out.register || action === Out.registerAndIgnoreExistingKey
      const keep = isRegister && (list.readUInt8(20) & 0x01) !== 0
      // SPEC_I_PT and ALL_TG_PT are not offered; APTPL where there is a store.
      if ((list.readUInt8(20) & 0x0c) !== 0 || (keep && !unit.reservations.canBeKept)) {
        throw checkCondition(Conditions.invalidFieldInParameterList)
      }
      const given = list.toString('hex', 0, 8)
      const serviceActionKey = list.toString('hex', 8, 16)
      const before = new Set(unit.reservations.registrations.keys())
      const outcome = await unit.reservations.change(() => {
        const done = change(unit, nexus, action, cdb.readUInt8(2), given, serviceActionKey)
        if (isRegister && done.status === undefined) unit.reservations.kept = keep
        return done
      })
      if (action === Out.preemptAndAbort && outcome.status === undefined) {
        await abortPreempted(unit, nexus, host, before)
      }
      return outcome
    },
  }
}

function change(
  unit: LogicalUnit,
  nexus: Nexus,
  action: number,
  scopeAndType: number,
  given: string,
  serviceActionKey: string,
): Outcome {
  const state = unit.reservations
  const mine = state.registrations.get(nexus.id)
  if (action === Out.register || action === Out.registerAndIgnoreExistingKey) {
    if (action === Out.register && given !== (mine ?? NO_KEY)) return CONFLICT
    return register(unit, nexus, serviceActionKey)
  }
  if (mine === undefined || given !== mine) return CONFLICT
  const type = scopeAndType & 0x0f
  switch (action) {
    case Out.reserve:
      return reserve(unit, nexus, scopeAndType >> 4, type)
    case Out.release:
      return release(unit, nexus, scopeAndType >> 4, type)
    case Out.clear:
      for (const other of state.registrations.keys()) {
        if (other !== nexus.id) unit.raiseAttention(Conditions.reservationsPreempted, { only: other })
      }
      state.registrations.clear()
      state.reservation = undefined
      state.generation += 1
      return GOOD
    default:
      return preempt(unit, nexus, type, serviceActionKey)
  }
}

/** What the preempted had under way ends before the command does. */
async function abortPreempted(
  unit: LogicalUnit,
  nexus: Nexus,
  host: UnitHost,
  before: ReadonlySet<NexusId>,
): Promise<void> {
  const { registrations } = unit.reservations
  const preempted = new Set([...before].filter((id) => id !== nexus.id && !registrations.has(id)))
  for (const only of preempted) unit.raiseAttention(Conditions.commandsClearedByAnotherInitiator, { only })
  await host.abortTasks(unit, preempted)
}

function register(unit: LogicalUnit, nexus: Nexus, newKey: string): Outcome {
  const state = unit.reservations
  if (newKey === NO_KEY) {
    if (!state.registrations.has(nexus.id)) return GOOD
    const { tellOthers } = state.unregister(nexus.id)
    if (tellOthers) tellRegistrants(unit, nexus.id)
  } else {
    if (!state.registrations.has(nexus.id) && state.registrations.size >= MAX_REGISTRATIONS) {
      throw checkCondition(Conditions.insufficientRegistrationResources)
    }
    state.registrations.set(nexus.id, newKey)
  }
  state.generation += 1
  return GOOD
}

function tellRegistrants(unit: LogicalUnit, except: NexusId): void {
  for (const other of unit.reservations.registrations.keys()) {
    if (other !== except) unit.raiseAttention(Conditions.reservationsReleased, { only: other })
  }
}

function reserve(unit: LogicalUnit, nexus: Nexus, scope: number, type: number): Outcome {
  const state = unit.reservations
  if (scope !== 0 || !isReservationType(type)) throw checkCondition(Conditions.invalidFieldInCommand)
  if (!state.reservation) {
    state.reservation = { holder: nexus.id, type }
    return GOOD
  }
  return state.isHolder(nexus.id) && state.reservation.type === type ? GOOD : CONFLICT
}

function release(unit: LogicalUnit, nexus: Nexus, scope: number, type: number): Outcome {
  const state = unit.reservations
  if (!state.reservation || !state.isHolder(nexus.id)) return GOOD
  if (scope !== 0 || state.reservation.type !== type)
    throw checkCondition(Conditions.invalidReleaseOfReservation)
  const tell = state.registrantsOnly || state.allRegistrants
  state.reservation = undefined
  if (tell) tellRegistrants(unit, nexus.id)
  return GOOD
}

/** Removes every registration with a key; takes the reservation over when its holder is among them. */
function preempt(unit: LogicalUnit, nexus: Nexus, type: number, victimKey: string): Outcome {
  const state = unit.reservations
  const reservation = state.reservation
  const all = state.allRegistrants && victimKey === NO_KEY
  if (victimKey === NO_KEY && !all) throw checkCondition(Conditions.invalidFieldInParameterList)
  const victims = [...state.registrations]
    .filter(([id, registered]) => (all ? id !== nexus.id : registered === victimKey))
    .map(([id]) => id)
  if (victims.length === 0 && !all) return CONFLICT
  const takesOver =
    reservation !== undefined && (all || (!state.allRegistrants && victims.includes(reservation.holder)))
  if (takesOver && !isReservationType(type)) throw checkCondition(Conditions.invalidFieldInCommand)
  const typeChanged = takesOver && reservation?.type !== type
  for (const victim of victims) {
    if (victim === nexus.id && takesOver) continue
    state.registrations.delete(victim)
    if (victim !== nexus.id) unit.raiseAttention(Conditions.registrationsPreempted, { only: victim })
  }
  if (takesOver) {
    state.reservation = { holder: nexus.id, type }
    if (typeChanged) tellRegistrants(unit, nexus.id)
  } else if (state.allRegistrants && state.registrations.size === 0) {
    state.reservation = undefined
  }
  state.generation += 1
  return GOOD
}

function outCommand(name: string, serviceAction: number): CommandDefinition {
  return {
    name: `PERSISTENT RESERVE OUT: ${name}`,
    operationCode: OperationCode.persistentReserveOut,
    serviceAction,
    usage: `5f0${serviceAction.toString(16)}ff0000ffffffff04`,
    access: 'always',
    plan: persistentReserveOut,
  }
}

function inCommand(name: string, serviceAction: number, plan: CommandDefinition['plan']): CommandDefinition {
  return {
    name: `PERSISTENT RESERVE IN: ${name}`,
    operationCode: OperationCode.persistentReserveIn,
    serviceAction,
    usage: `5e0${serviceAction.toString(16)}0000000000ffff04`,
    access: 'always',
    plan,
  }
}

export const persistentReserveCommands: readonly CommandDefinition[] = [
  inCommand('READ KEYS', In.readKeys, readKeys),
  inCommand('READ RESERVATION', In.readReservation, readReservation),
  inCommand('REPORT CAPABILITIES', In.reportCapabilities, reportCapabilities),
  inCommand('READ FULL STATUS', In.readFullStatus, readFullStatus),
  outCommand('REGISTER', Out.register),
  outCommand('RESERVE', Out.reserve),
  outCommand('RELEASE', Out.release),
  outCommand('CLEAR', Out.clear),
  outCommand('PREEMPT', Out.preempt),
  outCommand('PREEMPT AND ABORT', Out.preemptAndAbort),
  outCommand('REGISTER AND IGNORE EXISTING KEY', Out.registerAndIgnoreExistingKey),
]
