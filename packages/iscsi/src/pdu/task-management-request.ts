/**
 * Task Management Function Request, opcode 02: RFC 7143 section 11.5.
 *
 *   1 F function   8-15 LUN   16-19 ITT   20-23 referenced task tag   24-27 CmdSN   28-31 ExpStatSN
 *   32-35 RefCmdSN   36-39 ExpDataSN
 */
import { FINAL, IMMEDIATE, Opcode, startHeader } from './header.ts'
import { readLun, writeLun } from './lun.ts'

export const TaskFunction = {
  abortTask: 1,
  abortTaskSet: 2,
  clearAutoContingentAllegiance: 3,
  clearTaskSet: 4,
  logicalUnitReset: 5,
  targetWarmReset: 6,
  targetColdReset: 7,
  taskReassign: 8,
} as const

export interface TaskManagementRequest {
  readonly immediate: boolean
  readonly function: number
  readonly lun: number
  readonly initiatorTaskTag: number
  /** The task to abort; NO_TAG otherwise. */
  readonly referencedTaskTag: number
  readonly cmdSn: number
  readonly expStatSn: number
  /** CmdSN of the task to abort. */
  readonly refCmdSn: number
}

export function encodeTaskManagementRequest(pdu: TaskManagementRequest, into: Buffer, at = 0): void {
  const opcode = Opcode.taskManagementRequest | (pdu.immediate ? IMMEDIATE : 0)
  startHeader(into, at, opcode, FINAL | pdu.function, 0, pdu.initiatorTaskTag)
  writeLun(pdu.lun, into, at + 8)
  into.writeUInt32BE(pdu.referencedTaskTag, at + 20)
  into.writeUInt32BE(pdu.cmdSn, at + 24)
  into.writeUInt32BE(pdu.expStatSn, at + 28)
  into.writeUInt32BE(pdu.refCmdSn, at + 32)
}

export function decodeTaskManagementRequest(from: Buffer, at = 0): TaskManagementRequest {
  return {
    immediate: (from.readUInt8(at) & IMMEDIATE) !== 0,
    function: from.readUInt8(at + 1) & 0x7f,
    lun: readLun(from, at + 8),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    referencedTaskTag: from.readUInt32BE(at + 20),
    cmdSn: from.readUInt32BE(at + 24),
    expStatSn: from.readUInt32BE(at + 28),
    refCmdSn: from.readUInt32BE(at + 32),
  }
}
