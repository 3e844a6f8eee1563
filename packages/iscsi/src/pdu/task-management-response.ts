/**
 * Task Management Function Response, opcode 22: RFC 7143 section 11.6.
 *
 *   2 response   16-19 ITT   24-27 StatSN   28-31 ExpCmdSN   32-35 MaxCmdSN
 */
import { FINAL, Opcode, startHeader } from './header.ts'

export const TaskResponse = {
  complete: 0,
  taskDoesNotExist: 1,
  lunDoesNotExist: 2,
  taskStillAllegiant: 3,
  reassignmentUnsupported: 4,
  unsupported: 5,
  authorizationFailed: 6,
  rejected: 255,
} as const

export interface TaskManagementResponse {
  readonly response: number
  readonly initiatorTaskTag: number
  readonly statSn: number
  readonly expCmdSn: number
  readonly maxCmdSn: number
}

export function encodeTaskManagementResponse(pdu: TaskManagementResponse, into: Buffer, at = 0): void {
  startHeader(into, at, Opcode.taskManagementResponse, FINAL, 0, pdu.initiatorTaskTag)
  into.writeUInt8(pdu.response, at + 2)
  into.writeUInt32BE(pdu.statSn, at + 24)
  into.writeUInt32BE(pdu.expCmdSn, at + 28)
  into.writeUInt32BE(pdu.maxCmdSn, at + 32)
}

export function decodeTaskManagementResponse(from: Buffer, at = 0): TaskManagementResponse {
  return {
    response: from.readUInt8(at + 2),
    initiatorTaskTag: from.readUInt32BE(at + 16),
    statSn: from.readUInt32BE(at + 24),
    expCmdSn: from.readUInt32BE(at + 28),
    maxCmdSn: from.readUInt32BE(at + 32),
  }
}
