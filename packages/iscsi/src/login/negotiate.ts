/** Operational keys, both roles: RFC 7143 section 13. Pure. */
import { IscsiError } from '../errors.ts'
import { type KeyValue, parseNumber } from './text.ts'

/** What a session and its connection run with. Lengths are bytes, times seconds. */
export interface SessionParameters {
  headerDigest: boolean
  dataDigest: boolean
  initialR2T: boolean
  immediateData: boolean
  /** Longest data segment this end takes. */
  maxRecvDataSegmentLength: number
  /** Longest data segment the peer takes. */
  peerMaxRecvDataSegmentLength: number
  maxBurstLength: number
  firstBurstLength: number
  maxOutstandingR2T: number
  defaultTime2Wait: number
  defaultTime2Retain: number
}

/** What this end wants; the outcome may be less. */
export type SessionPreferences = Omit<
  SessionParameters,
  'headerDigest' | 'dataDigest' | 'peerMaxRecvDataSegmentLength'
> & {
  /** Initiator: offered before None. Target: accepted when offered. */
  readonly headerDigest: boolean
  readonly dataDigest: boolean
}

/** The values that hold when a key is not sent (RFC 7143 section 13). */
export const RFC_DEFAULTS: Readonly<SessionParameters> = {
  headerDigest: false,
  dataDigest: false,
  initialR2T: true,
  immediateData: true,
  maxRecvDataSegmentLength: 8192,
  peerMaxRecvDataSegmentLength: 8192,
  maxBurstLength: 262144,
  firstBurstLength: 65536,
  maxOutstandingR2T: 1,
  defaultTime2Wait: 2,
  defaultTime2Retain: 20,
}

/** What this package asks for at either end: large segments, no R2T for what fits a first burst. */
export const PREFERRED: Readonly<SessionPreferences> = {
  headerDigest: false,
  dataDigest: false,
  initialR2T: false,
  immediateData: true,
  maxRecvDataSegmentLength: 262144,
  maxBurstLength: 1048576,
  firstBurstLength: 262144,
  maxOutstandingR2T: 1,
  defaultTime2Wait: 2,
  defaultTime2Retain: 0,
}

const MAX_LENGTH = 0xffffff

type NumberField =
  | 'maxBurstLength'
  | 'firstBurstLength'
  | 'maxOutstandingR2T'
  | 'defaultTime2Wait'
  | 'defaultTime2Retain'

interface NumberKey {
  readonly field: NumberField
  readonly minimum: number
  readonly maximum: number
  readonly choose: (offered: number, ours: number) => number
}

const NUMBER_KEYS: Readonly<Record<string, NumberKey>> = {
  MaxBurstLength: { field: 'maxBurstLength', minimum: 512, maximum: MAX_LENGTH, choose: Math.min },
  FirstBurstLength: { field: 'firstBurstLength', minimum: 512, maximum: MAX_LENGTH, choose: Math.min },
  MaxOutstandingR2T: { field: 'maxOutstandingR2T', minimum: 1, maximum: 65535, choose: Math.min },
  DefaultTime2Wait: { field: 'defaultTime2Wait', minimum: 0, maximum: 3600, choose: Math.max },
  DefaultTime2Retain: { field: 'defaultTime2Retain', minimum: 0, maximum: 3600, choose: Math.min },
}

/** Keys whose outcome is always the same here: one connection, level 0, everything in order. */
const FIXED_NUMBERS: Readonly<Record<string, { minimum: number; maximum: number; value: number }>> = {
  MaxConnections: { minimum: 1, maximum: 65535, value: 1 },
  ErrorRecoveryLevel: { minimum: 0, maximum: 2, value: 0 },
}

/** Keys an initiator sends in the operational stage. */
export function offerKeys(wanted: SessionPreferences): KeyValue[] {
  return [
    ['HeaderDigest', wanted.headerDigest ? 'CRC32C,None' : 'None'],
    ['DataDigest', wanted.dataDigest ? 'CRC32C,None' : 'None'],
    ['MaxConnections', '1'],
    ['InitialR2T', yesNo(wanted.initialR2T)],
    ['ImmediateData', yesNo(wanted.immediateData)],
    ['MaxRecvDataSegmentLength', String(wanted.maxRecvDataSegmentLength)],
    ['MaxBurstLength', String(wanted.maxBurstLength)],
    ['FirstBurstLength', String(Math.min(wanted.firstBurstLength, wanted.maxBurstLength))],
    ['MaxOutstandingR2T', String(wanted.maxOutstandingR2T)],
    ['DefaultTime2Wait', String(wanted.defaultTime2Wait)],
    ['DefaultTime2Retain', String(wanted.defaultTime2Retain)],
    ['DataPDUInOrder', 'Yes'],
    ['DataSequenceInOrder', 'Yes'],
    ['ErrorRecoveryLevel', '0'],
  ]
}

/**
 * What an initiator ends with, from all keys the target sent during the login (in any number of PDUs).
 * Keys the target left out have their RFC default.
 * @throws IscsiError `protocol` when an answer is outside what was offered
 */
export function settleAnswers(
  wanted: SessionPreferences,
  answers: ReadonlyMap<string, string>,
): SessionParameters {
  const settled: SessionParameters = {
    ...RFC_DEFAULTS,
    maxRecvDataSegmentLength: wanted.maxRecvDataSegmentLength,
  }
  settled.headerDigest = settleDigest('HeaderDigest', wanted.headerDigest, answers)
  settled.dataDigest = settleDigest('DataDigest', wanted.dataDigest, answers)
  const initialR2T = answers.get('InitialR2T')
  settled.initialR2T =
    initialR2T === undefined || wanted.initialR2T ? true : settleYesNo('InitialR2T', initialR2T)
  const immediate = answers.get('ImmediateData')
  settled.immediateData =
    wanted.immediateData && (immediate === undefined || settleYesNo('ImmediateData', immediate))
  for (const [key, { field, minimum, maximum, choose }] of Object.entries(NUMBER_KEYS)) {
    const answer = answers.get(key)
    if (answer === undefined) {
      settled[field] = choose(RFC_DEFAULTS[field], wanted[field])
      continue
    }
    const number = parseNumber(answer, minimum, maximum)
    if (number === undefined) throw unusable(key, answer)
    settled[field] = choose(number, wanted[field])
  }
  const segment = answers.get('MaxRecvDataSegmentLength')
  if (segment !== undefined) {
    const length = parseNumber(segment, 512, MAX_LENGTH)
    if (length === undefined) throw unusable('MaxRecvDataSegmentLength', segment)
    settled.peerMaxRecvDataSegmentLength = length
  }
  settled.firstBurstLength = Math.min(settled.firstBurstLength, settled.maxBurstLength)
  return settled
}

function settleDigest(key: string, wanted: boolean, answers: ReadonlyMap<string, string>): boolean {
  const answer = answers.get(key)
  if (answer === undefined || answer === 'None') return false
  if (answer === 'CRC32C' && wanted) return true
  throw unusable(key, answer)
}

function settleYesNo(key: string, answer: string): boolean {
  if (answer === 'Yes' || answer === 'No') return answer === 'Yes'
  throw unusable(key, answer)
}

function unusable(key: string, answer: string): IscsiError {
  return new IscsiError('protocol', `the target answered ${key}=${answer}, which was not on offer`)
}

function yesNo(value: boolean): string {
  return value ? 'Yes' : 'No'
}

/**
 * The target's half: give it each operational key, send back what it answers. `parameters` is the state so far,
 * RFC defaults for keys not seen.
 */
export class TargetNegotiation {
  readonly parameters: SessionParameters
  readonly #wanted: SessionPreferences

  constructor(wanted: SessionPreferences) {
    this.#wanted = wanted
    this.parameters = { ...RFC_DEFAULTS, maxRecvDataSegmentLength: wanted.maxRecvDataSegmentLength }
  }

  /**
   * The value to answer with; undefined where the key wants no answer.
   * A value out of range is answered `Reject`, and the parameter keeps its default.
   */
  answer(key: string, value: string): string | undefined {
    const numberKey = NUMBER_KEYS[key]
    if (numberKey) return this.#answerNumber(numberKey, value)
    const fixed = FIXED_NUMBERS[key]
    if (fixed) {
      return parseNumber(value, fixed.minimum, fixed.maximum) === undefined ? 'Reject' : String(fixed.value)
    }
    switch (key) {
      case 'HeaderDigest':
        return this.#answerDigest('headerDigest', value)
      case 'DataDigest':
        return this.#answerDigest('dataDigest', value)
      case 'InitialR2T':
        return this.#answerYesNo('initialR2T', value, (offered) => offered || this.#wanted.initialR2T)
      case 'ImmediateData':
        return this.#answerYesNo('immediateData', value, (offered) => offered && this.#wanted.immediateData)
      case 'MaxRecvDataSegmentLength': {
        const length = parseNumber(value, 512, MAX_LENGTH)
        if (length === undefined) return 'Reject'
        this.parameters.peerMaxRecvDataSegmentLength = length
        return undefined
      }
      case 'DataPDUInOrder':
      case 'DataSequenceInOrder':
        return value === 'Yes' || value === 'No' ? 'Yes' : 'Reject'
      case 'IFMarker':
      case 'OFMarker':
        return 'No'
      case 'IFMarkInt':
      case 'OFMarkInt':
        return 'Reject'
      case 'TaskReporting':
        return value.split(',').includes('RFC3720') ? 'RFC3720' : 'Reject'
      case 'iSCSIProtocolLevel': {
        const level = parseNumber(value, 0, 31)
        return level === undefined ? 'Reject' : String(Math.min(level, 1))
      }
      default:
        return 'NotUnderstood'
    }
  }

  #answerNumber(key: NumberKey, value: string): string {
    const offered = parseNumber(value, key.minimum, key.maximum)
    if (offered === undefined) return 'Reject'
    let chosen = key.choose(offered, this.#wanted[key.field])
    if (key.field === 'firstBurstLength') chosen = Math.min(chosen, this.#wanted.maxBurstLength)
    this.parameters[key.field] = chosen
    return String(chosen)
  }

  #answerDigest(field: 'headerDigest' | 'dataDigest', value: string): string {
    for (const item of value.split(',')) {
      if (item === 'None') return this.#settleDigest(field, false)
      if (item === 'CRC32C' && this.#wanted[field]) return this.#settleDigest(field, true)
    }
    return 'Reject'
  }

  #settleDigest(field: 'headerDigest' | 'dataDigest', on: boolean): string {
    this.parameters[field] = on
    return on ? 'CRC32C' : 'None'
  }

  #answerYesNo(
    field: 'initialR2T' | 'immediateData',
    value: string,
    choose: (offered: boolean) => boolean,
  ): string {
    if (value !== 'Yes' && value !== 'No') return 'Reject'
    this.parameters[field] = choose(value === 'Yes')
    return yesNo(this.parameters[field])
  }
}
