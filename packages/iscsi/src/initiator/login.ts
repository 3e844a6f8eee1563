import { randomBytes } from 'node:crypto'
import { IscsiError } from '../errors.ts'
import type { SessionParameters } from '../login/negotiate.ts'
import { Opcode, opcodeOf } from '../pdu/header.ts'
import { decodeLoginResponse, type LoginResponse } from '../pdu/login-response.ts'
import { Connection, nameOf, type Portal, parsePortal } from './connection.ts'
import { LoginExchange, type LoginIdentity } from './login-exchange.ts'

/** A connection in full feature phase, whose owner is still to be set. */
export interface LoggedIn {
  readonly connection: Connection
  readonly parameters: SessionParameters
  /** The last login response: serial numbers and the first command window. */
  readonly response: LoginResponse
}

const maxHops = 4

/**
 * Connects and logs in, following redirections.
 * @param onFullFeature called at the very moment the login succeeds, before any further byte is looked at; it
 *   must set the connection's owner
 * @throws IscsiError `timeout`, `closed`, `authentication`, `login`, `protocol`; the signal's reason when cancelled
 */
export async function logIn(
  portal: Portal,
  identity: LoginIdentity,
  isid: Buffer,
  timeoutMs: number,
  signal: AbortSignal,
  onFullFeature: (loggedIn: LoggedIn) => void,
): Promise<void> {
  let address = portal
  let md5Only = false
  const deadline = performance.now() + timeoutMs
  for (let hop = 0; hop <= maxHops; hop += 1) {
    const left = Math.max(1, Math.ceil(deadline - performance.now()))
    const connection = await Connection.connect(address, left, signal)
    const login = new LoginExchange(identity, isid, randomBytes(17), { md5Only })
    let moved: string | undefined
    try {
      moved = await exchange(connection, login, timeoutMs, deadline, signal, onFullFeature)
    } catch (error) {
      if (md5Only || !misunderstoodAlgorithm(login, error)) throw error
      md5Only = true
      continue
    }
    if (moved === undefined) return
    const next = parsePortal(moved)
    if (next === undefined) throw new IscsiError('protocol', `${nameOf(address)} moved to "${moved}"`)
    address = next
  }
  throw new IscsiError('login', `${nameOf(portal)} redirected the login more than ${maxHops} times`)
}

/**
 * tgtd takes CHAP algorithm 7 for SHA-1, which is 6 (RFC 7143 section 12.1.3 has 7 as SHA-256), and so finds every
 * answer wrong; it says so as a general initiator error, not as an authentication failure.
 */
function misunderstoodAlgorithm(login: LoginExchange, error: unknown): boolean {
  const general = error instanceof IscsiError && error.statusClass === 2 && error.statusDetail === 0
  return general && login.chosenAlgorithm === '7'
}

/** @returns the address the target has moved to, undefined when the login is complete */
function exchange(
  connection: Connection,
  login: LoginExchange,
  timeoutMs: number,
  deadline: number,
  signal: AbortSignal,
  onFullFeature: (loggedIn: LoggedIn) => void,
): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    const what = `timed out after ${timeoutMs} ms waiting for the login at ${nameOf(connection.portal)}`
    const timer = setTimeout(
      () => connection.close(new IscsiError('timeout', what)),
      Math.max(1, deadline - performance.now()),
    )
    const onAbort = () => connection.close(signal.reason)
    const settle = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    signal.addEventListener('abort', onAbort, { once: true })
    connection.owner = {
      destination: () => undefined,
      received(header, data) {
        if (opcodeOf(header) !== Opcode.loginResponse) {
          throw new IscsiError('protocol', `${nameOf(connection.portal)} sent another PDU during the login`)
        }
        const step = login.next(decodeLoginResponse(header), data)
        if (step.kind === 'send') {
          connection.send(step.pdu.header, step.pdu.text)
          return
        }
        settle()
        if (step.kind === 'moved') {
          connection.end()
          resolve(step.address)
          return
        }
        const { parameters, response } = step
        connection.receiver.headerDigest = parameters.headerDigest
        connection.receiver.dataDigest = parameters.dataDigest
        connection.receiver.maxDataBytes = parameters.maxRecvDataSegmentLength
        onFullFeature({ connection, parameters, response })
        resolve(undefined)
      },
      closed(error) {
        settle()
        reject(error)
      },
    }
    const { header, text } = login.start()
    connection.send(header, text)
  })
}
