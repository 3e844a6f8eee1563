/**
 * The target's side of a login: RFC 7143 sections 6.3, 11.12 and 11.13. Pure: fed with requests, returns replies.
 * One object for each connection. A reply whose status is not 0 ends the connection.
 */
import { IscsiError } from '../errors.ts'
import { type LoginRequest, LoginStage } from '../pdu/login-request.ts'
import { LoginStatus } from '../pdu/login-response.ts'
import { CHALLENGE_BYTES, type Chap, ChapAuthenticator } from './chap.ts'
import { type SessionParameters, type SessionPreferences, TargetNegotiation } from './negotiate.ts'
import { encodeText, type KeyValue, MAX_TEXT_BYTES, parseText } from './text.ts'

/** Requests after which a login that is not finished is refused. */
const MAX_REQUESTS = 20

export interface Admission {
  /** One of LoginStatus; `success` lets the login go on. */
  readonly status: number
  /** Accounts one of which the initiator must prove; none: no authentication is asked for. */
  readonly chap: readonly Chap[]
  /** Also in a discovery session, where an initiator may else do without. */
  readonly mustProve?: boolean
  /** Undefined for a discovery session. */
  readonly portalGroupTag?: number
  readonly targetAlias?: string | undefined
}

export interface TargetLoginOptions {
  readonly preferences: SessionPreferences
  /** Whether this initiator may log in; `targetName` is undefined for a discovery session. */
  readonly admit: (initiatorName: string, targetName: string | undefined) => Admission
  readonly randomBytes: (count: number) => Buffer
}

export interface LoginOutcome {
  readonly initiatorName: string
  /** Undefined for a discovery session. */
  readonly targetName: string | undefined
  readonly isid: Buffer
  readonly cid: number
  readonly parameters: SessionParameters
}

export interface LoginReply {
  readonly status: number
  readonly transit: boolean
  readonly currentStage: number
  readonly nextStage: number
  readonly text: Buffer
  /** Set in the reply that ends the login with success. */
  readonly outcome?: LoginOutcome
}

/** A refusal in the middle of handling a request. */
class Refused {
  readonly status: number
  constructor(status: number) {
    this.status = status
  }
}

export class TargetLogin {
  readonly #options: TargetLoginOptions
  readonly #negotiation: TargetNegotiation
  readonly #seen = new Set<string>()
  #requests = 0
  #collected: Buffer[] = []
  #collectedBytes = 0
  #stage: number | undefined
  #initiatorName: string | undefined
  #targetName: string | undefined
  #discovery = false
  #admission: Admission | undefined
  #announced = false
  #declared = false
  #chap: ChapAuthenticator | undefined
  #chapStep: 'none' | 'algorithm' | 'answer' = 'none'
  #authenticated = false
  /** None was chosen, which is only ever done where nothing has to be proved. */
  #needsNoProof = false

  constructor(options: TargetLoginOptions) {
    this.#options = options
    this.#negotiation = new TargetNegotiation(options.preferences)
  }

  /** Never throws for what a peer can send. */
  receive(request: LoginRequest, data: Buffer): LoginReply {
    try {
      return this.#receive(request, data)
    } catch (error) {
      const status =
        error instanceof Refused
          ? error.status
          : error instanceof IscsiError && error.code === 'authentication'
            ? LoginStatus.authenticationFailed
            : error instanceof IscsiError && error.code === 'protocol'
              ? LoginStatus.initiatorError
              : LoginStatus.targetError
      return reply(request, status, false, Buffer.alloc(0))
    }
  }

  #receive(request: LoginRequest, data: Buffer): LoginReply {
    this.#requests += 1
    if (this.#requests > MAX_REQUESTS) throw new Refused(LoginStatus.initiatorError)
    if (request.versionMin > 0) throw new Refused(LoginStatus.unsupportedVersion)
    if (request.tsih !== 0) throw new Refused(LoginStatus.sessionDoesNotExist)
    this.#checkStage(request)
    this.#collectedBytes += data.byteLength
    if (this.#collectedBytes > MAX_TEXT_BYTES) throw new Refused(LoginStatus.initiatorError)
    this.#collected.push(Buffer.from(data))
    if (request.continued) {
      if (request.transit) throw new Refused(LoginStatus.initiatorError)
      return reply(request, LoginStatus.success, false, Buffer.alloc(0))
    }
    const pairs = parseText(Buffer.concat(this.#collected))
    this.#collected = []
    return this.#handle(request, pairs)
  }

  #checkStage(request: LoginRequest): void {
    const { currentStage, nextStage, transit } = request
    const stage = this.#stage ?? currentStage
    const known = currentStage === LoginStage.security || currentStage === LoginStage.operational
    if (!known || currentStage !== stage) throw new Refused(LoginStatus.initiatorError)
    if (transit && (nextStage <= currentStage || nextStage === 2))
      throw new Refused(LoginStatus.initiatorError)
    this.#stage = stage
  }

  #handle(request: LoginRequest, pairs: readonly KeyValue[]): LoginReply {
    for (const [key] of pairs) {
      if (this.#seen.has(key)) throw new Refused(LoginStatus.initiatorError)
      this.#seen.add(key)
    }
    const keys = new Map(pairs)
    const admission = this.#admission ?? this.#admit(keys, request)
    this.#admission = admission
    const answers: KeyValue[] = []
    if (!this.#announced) {
      this.#announced = true
      if (admission.targetAlias !== undefined) answers.push(['TargetAlias', admission.targetAlias])
      if (admission.portalGroupTag !== undefined) {
        answers.push(['TargetPortalGroupTag', String(admission.portalGroupTag)])
      }
    }
    if (request.currentStage === LoginStage.security) this.#security(keys, admission, answers)
    else this.#operational(pairs, answers)

    const mayLeave =
      request.currentStage === LoginStage.operational ||
      this.#authenticated ||
      this.#needsNoProof ||
      (admission.chap.length === 0 && this.#chapStep === 'none')
    const transit = request.transit && mayLeave
    // Ready to leave the security stage with nothing proved and nothing more to say: it will not authenticate.
    if (request.transit && !mayLeave && this.#chapStep === 'none') {
      throw new Refused(LoginStatus.authenticationFailed)
    }
    if (transit) this.#stage = request.nextStage
    const text = encodeText(answers)
    if (!transit || request.nextStage !== LoginStage.fullFeature) {
      return reply(request, LoginStatus.success, transit, text)
    }
    return { ...reply(request, LoginStatus.success, true, text), outcome: this.#outcome(request) }
  }

  #admit(keys: ReadonlyMap<string, string>, request: LoginRequest): Admission {
    const sessionType = keys.get('SessionType') ?? 'Normal'
    if (sessionType !== 'Normal' && sessionType !== 'Discovery')
      throw new Refused(LoginStatus.sessionTypeUnsupported)
    const initiatorName = keys.get('InitiatorName')?.toLowerCase()
    const targetName = keys.get('TargetName')?.toLowerCase()
    this.#discovery = sessionType === 'Discovery'
    if (!initiatorName || (!this.#discovery && !targetName)) throw new Refused(LoginStatus.missingParameter)
    this.#initiatorName = initiatorName
    this.#targetName = this.#discovery ? undefined : targetName
    const admission = this.#options.admit(initiatorName, this.#targetName)
    if (admission.status !== LoginStatus.success) throw new Refused(admission.status)
    // Starting in the operational stage means to skip authentication (RFC 7143 section 6.3.2).
    const mustProve = admission.chap.length > 0 && (!this.#discovery || admission.mustProve === true)
    if (request.currentStage === LoginStage.operational && mustProve) {
      throw new Refused(LoginStatus.authorizationFailed)
    }
    return admission
  }

  #security(keys: ReadonlyMap<string, string>, admission: Admission, answers: KeyValue[]): void {
    const methods = keys.get('AuthMethod')
    if (methods !== undefined) answers.push(['AuthMethod', this.#chooseMethod(methods.split(','), admission)])
    if (this.#chapStep === 'algorithm' && keys.has('CHAP_A') && this.#chap) {
      answers.push(...this.#chap.challenge(keys))
      this.#chapStep = 'answer'
    } else if (this.#chapStep === 'answer' && this.#chap) {
      answers.push(...this.#chap.verify(keys))
      this.#chapStep = 'none'
      this.#authenticated = true
    }
    for (const key of keys.keys()) {
      if (!SECURITY_KEYS.has(key) && !DECLARED_KEYS.has(key)) answers.push([key, 'NotUnderstood'])
    }
  }

  #chooseMethod(offered: readonly string[], admission: Admission): string {
    // A discovery session shows only what the initiator may see anyway: it may do without, if it asks to.
    const mayDoWithout = this.#discovery && admission.mustProve !== true && offered.includes('None')
    const needsChap = admission.chap.length > 0 && !mayDoWithout
    if (!needsChap && offered.includes('None')) {
      this.#needsNoProof = true
      return 'None'
    }
    if (admission.chap.length === 0 || !offered.includes('CHAP'))
      throw new Refused(LoginStatus.authenticationFailed)
    this.#chap = new ChapAuthenticator(admission.chap, this.#options.randomBytes(1 + CHALLENGE_BYTES))
    this.#chapStep = 'algorithm'
    return 'CHAP'
  }

  #operational(pairs: readonly KeyValue[], answers: KeyValue[]): void {
    for (const [key, value] of pairs) {
      if (DECLARED_KEYS.has(key)) continue
      const answer = SECURITY_KEYS.has(key) ? 'Reject' : this.#negotiation.answer(key, value)
      if (answer !== undefined) answers.push([key, answer])
    }
    if (!this.#declared) {
      this.#declared = true
      answers.push(['MaxRecvDataSegmentLength', String(this.#options.preferences.maxRecvDataSegmentLength)])
    }
  }

  #outcome(request: LoginRequest): LoginOutcome {
    const { parameters } = this.#negotiation
    // A login that jumped over the operational stage has declared nothing: the default holds.
    if (!this.#declared) parameters.maxRecvDataSegmentLength = 8192
    parameters.firstBurstLength = Math.min(parameters.firstBurstLength, parameters.maxBurstLength)
    return {
      initiatorName: this.#initiatorName ?? '',
      targetName: this.#targetName,
      isid: request.isid,
      cid: request.cid,
      parameters,
    }
  }
}

const SECURITY_KEYS = new Set(['AuthMethod', 'CHAP_A', 'CHAP_I', 'CHAP_C', 'CHAP_N', 'CHAP_R'])
const DECLARED_KEYS = new Set(['InitiatorName', 'InitiatorAlias', 'TargetName', 'SessionType'])

function reply(request: LoginRequest, status: number, transit: boolean, text: Buffer): LoginReply {
  return {
    status,
    transit,
    currentStage: request.currentStage,
    nextStage: transit ? request.nextStage : 0,
    text,
  }
}
