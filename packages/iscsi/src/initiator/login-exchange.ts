import { IscsiError } from '../errors.ts'
import { type Chap, ChapResponder } from '../login/chap.ts'
import {
  offerKeys,
  PREFERRED,
  type SessionParameters,
  type SessionPreferences,
  settleAnswers,
} from '../login/negotiate.ts'
import { encodeText, type KeyValue, MAX_TEXT_BYTES, parseText } from '../login/text.ts'
import { HEADER_BYTES } from '../pdu/header.ts'
import { encodeLoginRequest, LoginStage } from '../pdu/login-request.ts'
import { type LoginResponse, LoginStatus } from '../pdu/login-response.ts'

/** Who logs in, where, and how. */
export interface LoginIdentity {
  readonly initiatorName: string
  /** Absent for a discovery session. */
  readonly targetName?: string
  readonly chap?: Chap
  readonly headerDigest?: boolean
  readonly dataDigest?: boolean
}

/** One PDU to send, with its text. */
export interface LoginPdu {
  readonly header: Buffer
  readonly text: Buffer
}

/** What a response leads to. */
export type LoginStep =
  | { readonly kind: 'send'; readonly pdu: LoginPdu }
  | { readonly kind: 'done'; readonly parameters: SessionParameters; readonly response: LoginResponse }
  | { readonly kind: 'moved'; readonly address: string }

const maxRoundTrips = 20

/** Keys a target may send without having been asked, and to which no answer is due. */
const declared = new Set(['TargetAlias', 'TargetAddress', 'TargetPortalGroupTag', 'MaxRecvDataSegmentLength'])

/**
 * The initiator's half of a login (RFC 7143 section 6.3), without a socket: give it each response with its text,
 * and send what it says. Authentication comes first when there is a CHAP secret; else the login starts with the
 * operational keys.
 */
export class LoginExchange {
  readonly #identity: LoginIdentity
  readonly #isid: Buffer
  readonly #responder: ChapResponder | undefined
  readonly #wanted: SessionPreferences
  readonly #offered: ReadonlySet<string>
  /** Keys of the security stage that the target has sent since our last request, then those of all stages. */
  readonly #answers = new Map<string, string>()
  #stage: number
  #phase: 'method' | 'challenge' | 'proof' | 'leaving' | 'operational'
  #collected: Buffer[] = []
  #collectedBytes = 0
  #roundTrips = 0
  #expStatSn = 0
  readonly #md5Only: boolean
  /** CHAP algorithm that the target has chosen; undefined before, and without CHAP. */
  chosenAlgorithm: string | undefined

  /**
   * @param isid 6 bytes that name this initiator port
   * @param random 17 fresh random bytes, for mutual CHAP
   * @param options.md5Only offer no CHAP algorithm but the one that every target must have
   */
  constructor(identity: LoginIdentity, isid: Buffer, random: Buffer, options: { md5Only?: boolean } = {}) {
    this.#identity = identity
    this.#md5Only = options.md5Only ?? false
    this.#isid = isid
    this.#responder = identity.chap === undefined ? undefined : new ChapResponder(identity.chap, random)
    this.#stage = this.#responder === undefined ? LoginStage.operational : LoginStage.security
    this.#phase = this.#responder === undefined ? 'operational' : 'method'
    this.#wanted = {
      ...PREFERRED,
      headerDigest: identity.headerDigest ?? false,
      dataDigest: identity.dataDigest ?? false,
    }
    this.#offered = new Set(offerKeys(this.#wanted).map(([key]) => key))
  }

  /** The first request. */
  start(): LoginPdu {
    const { initiatorName, targetName, chap } = this.#identity
    const names: KeyValue[] = [['InitiatorName', initiatorName]]
    if (targetName === undefined) names.push(['SessionType', 'Discovery'])
    else names.push(['SessionType', 'Normal'], ['TargetName', targetName])
    if (chap === undefined) return this.#request([...names, ...offerKeys(this.#wanted)], true)
    // With mutual authentication the target must not get away without proving who it is.
    return this.#request([...names, ['AuthMethod', chap.mutual === undefined ? 'CHAP,None' : 'CHAP']], false)
  }

  /**
   * @param text the response's data segment; valid only during the call
   * @throws IscsiError `authentication`, `login` or `protocol`
   */
  next(response: LoginResponse, text: Uint8Array): LoginStep {
    this.#roundTrips += 1
    if (this.#roundTrips > maxRoundTrips) throw broken(`did not finish in ${maxRoundTrips} round trips`)
    this.#collect(text)
    const statusClass = response.status >>> 8
    if (statusClass === 1) return { kind: 'moved', address: this.#movedTo() }
    if (statusClass !== 0) throw refused(response.status)
    this.#expStatSn = (response.statSn + 1) >>> 0
    if (response.continued) return { kind: 'send', pdu: this.#request([], false) }

    const keys = this.#takeKeys()
    if (response.currentStage !== this.#stage) throw broken('answered for another stage')
    if (response.transit) return this.#transit(response)
    if (this.#stage === LoginStage.security) return { kind: 'send', pdu: this.#continueSecurity(keys) }
    const unknown = [...keys.keys()].filter((key) => !this.#offered.has(key) && !declared.has(key))
    const answers: KeyValue[] = unknown.map((key) => [key, 'NotUnderstood'])
    return { kind: 'send', pdu: this.#request(answers, true) }
  }

  #transit(response: LoginResponse): LoginStep {
    if (this.#stage === LoginStage.security) {
      if (this.#phase !== 'proof' && this.#phase !== 'leaving') throw broken('left authentication too early')
      if (this.#phase === 'proof') this.#responder?.verify(this.#answers)
      if (response.nextStage !== LoginStage.operational) throw broken('skipped the operational stage')
      this.#stage = LoginStage.operational
      this.#phase = 'operational'
      return { kind: 'send', pdu: this.#request(offerKeys(this.#wanted), true) }
    }
    if (response.nextStage !== LoginStage.fullFeature) throw broken('went to a stage that was not asked for')
    return { kind: 'done', parameters: settleAnswers(this.#wanted, this.#answers), response }
  }

  #continueSecurity(keys: ReadonlyMap<string, string>): LoginPdu {
    if (this.#responder === undefined) throw broken('wants authentication')
    if (this.#phase === 'method') {
      const method = keys.get('AuthMethod')
      if (method === 'CHAP') {
        this.#phase = 'challenge'
        return this.#request(this.#md5Only ? [['CHAP_A', '5']] : this.#responder.propose(), false)
      }
      if (method === 'None' && this.#identity.chap?.mutual === undefined) {
        this.#phase = 'leaving'
        return this.#request([], true)
      }
      throw new IscsiError('authentication', 'the target does not authenticate by CHAP')
    }
    if (this.#phase === 'challenge') {
      this.#phase = 'proof'
      this.chosenAlgorithm = keys.get('CHAP_A')
      return this.#request(this.#responder.answer(keys), true)
    }
    // The target had keys of its own to send: ask again to go on.
    return this.#request([], true)
  }

  #collect(text: Uint8Array): void {
    this.#collectedBytes += text.byteLength
    if (this.#collectedBytes > MAX_TEXT_BYTES) throw broken(`sent more than ${MAX_TEXT_BYTES} bytes of text`)
    if (text.byteLength > 0) this.#collected.push(Buffer.from(text))
  }

  /** The keys of one whole answer, which also join all others. */
  #takeKeys(): ReadonlyMap<string, string> {
    const keys = new Map(parseText(Buffer.concat(this.#collected)))
    this.#collected = []
    for (const [key, value] of keys) {
      if (this.#answers.has(key) && !declared.has(key)) throw broken(`sent ${key} twice`)
      this.#answers.set(key, value)
    }
    return keys
  }

  #movedTo(): string {
    const address = this.#takeKeys().get('TargetAddress')
    if (address === undefined) throw broken('moved without saying where to')
    return address
  }

  #request(keys: readonly KeyValue[], transit: boolean): LoginPdu {
    const text = encodeText(keys)
    const header = Buffer.alloc(HEADER_BYTES)
    encodeLoginRequest(
      {
        transit,
        continued: false,
        currentStage: this.#stage,
        nextStage: this.#stage === LoginStage.security ? LoginStage.operational : LoginStage.fullFeature,
        versionMax: 0,
        versionMin: 0,
        isid: this.#isid,
        tsih: 0,
        initiatorTaskTag: 0,
        cid: 0,
        cmdSn: FIRST_CMD_SN,
        expStatSn: this.#expStatSn,
        dataLength: text.byteLength,
      },
      header,
    )
    return { header, text }
  }
}

/** CmdSN of the login requests, which the first command after the login uses. */
export const FIRST_CMD_SN = 1

function refused(status: number): IscsiError {
  const name = Object.entries(LoginStatus).find(([, value]) => value === status)?.[0]
  const words = name?.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`) ?? 'unknown status'
  const hex = status.toString(16).padStart(4, '0')
  const permission = status === LoginStatus.authenticationFailed || status === LoginStatus.authorizationFailed
  return new IscsiError(
    permission ? 'authentication' : 'login',
    `the target refused the login: ${words} (${hex})`,
    {
      statusClass: status >>> 8,
      statusDetail: status & 0xff,
    },
  )
}

function broken(what: string): IscsiError {
  return new IscsiError('protocol', `the target ${what} during the login`)
}
