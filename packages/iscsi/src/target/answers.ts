/**
 * The PDUs a session sends beside its data: responses, pings, rejects, the word that it is over.
 * Each takes the session's numbers (RFC 7143 section 4.2.2) at the moment it is queued.
 */
import type { SessionParameters } from '../login/negotiate.ts'
import { AsyncEvent, encodeAsyncMessage } from '../pdu/async-message.ts'
import { HEADER_BYTES, NO_TAG } from '../pdu/header.ts'
import { LogoutReason, type LogoutRequest } from '../pdu/logout-request.ts'
import { encodeLogoutResponse, LogoutResponseCode } from '../pdu/logout-response.ts'
import { encodeNopIn } from '../pdu/nop-in.ts'
import type { NopOut } from '../pdu/nop-out.ts'
import { encodeReject } from '../pdu/reject.ts'
import { encodeScsiResponse, encodeSenseSegment, ScsiResponseCode } from '../pdu/scsi-response.ts'
import { encodeTaskManagementResponse } from '../pdu/task-management-response.ts'
import type { PduWriter } from './pdu-writer.ts'
import type { Task } from './task.ts'

/** What an answer takes from its session. */
export interface AnswerHost {
  readonly writer: PduWriter
  readonly parameters: SessionParameters
  numbers(): { expCmdSn: number; maxCmdSn: number }
  /** The number the next status will have; not consumed. */
  nextStatSn(): number
  takeStatSn(): number
}

/**
 * SCSI Response: RFC 7143 section 11.4.
 * @param moved bytes that the command moved or would have, for the residual
 */
export function sendScsiResponse(
  host: AnswerHost,
  task: Task,
  answer: { readonly status: number; readonly sense: Buffer | undefined; readonly moved: number },
): void {
  const residual = answer.moved - (task.expectedOut || task.expectedIn)
  const segment = answer.sense ? encodeSenseSegment(answer.sense) : undefined
  const pdu = {
    response: ScsiResponseCode.completed,
    status: answer.status,
    initiatorTaskTag: task.initiatorTaskTag,
    statSn: host.takeStatSn(),
    ...host.numbers(),
    expDataSn: task.dataSn + task.r2tSn,
    overflow: residual > 0,
    underflow: residual < 0,
    residualCount: Math.abs(residual),
    dataLength: segment?.byteLength ?? 0,
  }
  host.writer.write((into, at) => encodeScsiResponse(pdu, into, at), segment)
}

/** Answers a ping with its own data: RFC 7143 section 11.19. A ping without a tag wants no answer. */
export function sendPong(host: AnswerHost, ping: NopOut, data: Buffer): void {
  if (ping.initiatorTaskTag === NO_TAG) return
  const echo = data.subarray(0, host.parameters.peerMaxRecvDataSegmentLength)
  const pdu = {
    lunField: ping.lunField,
    initiatorTaskTag: ping.initiatorTaskTag,
    targetTransferTag: NO_TAG,
    statSn: host.takeStatSn(),
    ...host.numbers(),
    dataLength: echo.byteLength,
  }
  host.writer.write((into, at) => encodeNopIn(pdu, into, at), echo)
}

/** Asks the initiator whether it is still there: RFC 7143 section 11.19. Consumes no status number. */
export function sendPing(host: AnswerHost): void {
  const pdu = {
    lunField: Buffer.alloc(8),
    initiatorTaskTag: NO_TAG,
    targetTransferTag: 1,
    statSn: host.nextStatSn(),
    ...host.numbers(),
    dataLength: 0,
  }
  host.writer.write((into, at) => encodeNopIn(pdu, into, at))
}

/** Task Management Function Response: RFC 7143 section 11.6. */
export function sendTaskManagementResponse(
  host: AnswerHost,
  initiatorTaskTag: number,
  response: number,
): void {
  const pdu = { response, initiatorTaskTag, statSn: host.takeStatSn(), ...host.numbers() }
  host.writer.write((into, at) => encodeTaskManagementResponse(pdu, into, at))
}

/** What a logout is answered with: RFC 7143 section 11.15.1. @param cid the session's only connection */
export function logoutResponse(request: LogoutRequest, cid: number): number {
  if (request.reason === LogoutReason.removeForRecovery) return LogoutResponseCode.recoveryUnsupported
  if (request.reason === LogoutReason.closeConnection && request.cid !== cid) {
    return LogoutResponseCode.cidNotFound
  }
  return LogoutResponseCode.closed
}

/** Logout Response: RFC 7143 section 11.15. */
export function sendLogoutResponse(host: AnswerHost, initiatorTaskTag: number, response: number): void {
  const pdu = {
    response,
    initiatorTaskTag,
    statSn: host.takeStatSn(),
    ...host.numbers(),
    timeToWait: host.parameters.defaultTime2Wait,
    timeToRetain: host.parameters.defaultTime2Retain,
  }
  host.writer.write((into, at) => encodeLogoutResponse(pdu, into, at))
}

/** Reject, with the header that was refused: RFC 7143 section 11.17. */
export function sendReject(host: AnswerHost, reason: number, header: Buffer, at: number): void {
  const data = Buffer.from(header.subarray(at, at + HEADER_BYTES))
  const pdu = { reason, statSn: host.takeStatSn(), ...host.numbers(), dataLength: data.byteLength }
  host.writer.write((into, start) => encodeReject(pdu, into, start), data)
}

/** Tells the initiator that the target drops its session: RFC 7143 section 11.9.1, event 3. */
export function sendSessionDropped(host: AnswerHost): void {
  sendAsyncMessage(host, AsyncEvent.sessionDropped, host.parameters.defaultTime2Wait, 0)
}

/** Asks the initiator to log out within so many seconds: RFC 7143 section 11.9.1, event 1. */
export function sendLogoutRequested(host: AnswerHost, seconds: number): void {
  sendAsyncMessage(host, AsyncEvent.logoutRequested, 0, seconds)
}

function sendAsyncMessage(host: AnswerHost, event: number, parameter2: number, parameter3: number): void {
  const numbers = { statSn: host.takeStatSn(), ...host.numbers() }
  const pdu = { ...numbers, event, parameter1: 0, parameter2, parameter3, dataLength: 0 }
  host.writer.write((into, at) => encodeAsyncMessage(pdu, into, at))
}
