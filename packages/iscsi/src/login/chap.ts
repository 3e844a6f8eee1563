/**
 * CHAP, both roles: RFC 7143 section 12.1.3, RFC 1994. Pure: random bytes are arguments.
 *
 *   initiator                          target
 *   CHAP_A=<list>                  →
 *                                  ←   CHAP_A=<one> CHAP_I=<n> CHAP_C=<challenge>
 *   CHAP_N=<name> CHAP_R=<answer>  →
 *   [CHAP_I=<n> CHAP_C=<challenge>]
 *                                  ←   [CHAP_N=<name> CHAP_R=<answer>]
 *
 * Secrets and answers never appear in an error message.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { IscsiError } from '../errors.ts'
import { md5 } from './md5.ts'
import { type KeyValue, parseNumber } from './text.ts'

/** Name and secret of one direction. */
export interface ChapCredentials {
  readonly username: string
  /** 12 bytes of UTF-8 or more (RFC 7143 section 9.2.1). Appears in no error, event or log. */
  readonly password: string
}

/** What the initiator proves and, with `mutual`, what the target proves back. */
export interface Chap extends ChapCredentials {
  readonly mutual?: ChapCredentials
}

/** Shortest secret that RFC 7143 section 9.2.1 allows without IPsec: 96 bits. */
export const MIN_SECRET_BYTES = 12
/** Bytes of the challenges we make. */
export const CHALLENGE_BYTES = 16
const MAX_CHALLENGE_BYTES = 1024

/** Strongest first. */
const ALGORITHMS: readonly { id: number; hash: string; length: number }[] = [
  { id: 7, hash: 'sha256', length: 32 },
  { id: 6, hash: 'sha1', length: 20 },
  { id: 5, hash: 'md5', length: 16 },
]

/** @throws IscsiError `invalid` when a secret is too short, or both directions use the same one */
export function checkChap(chap: Chap): void {
  for (const credentials of chap.mutual ? [chap, chap.mutual] : [chap]) {
    if (Buffer.byteLength(credentials.password) < MIN_SECRET_BYTES) {
      throw new IscsiError('invalid', `a CHAP secret needs at least ${MIN_SECRET_BYTES} bytes`)
    }
    if (credentials.username === '') throw new IscsiError('invalid', 'a CHAP name is empty')
  }
  if (chap.mutual?.password === chap.password) {
    throw new IscsiError('invalid', 'the two CHAP secrets of a mutual authentication must differ')
  }
}

/** H(identifier, secret, challenge). @throws IscsiError when the algorithm is not one of 5, 6, 7 */
export function chapAnswer(
  algorithm: number,
  identifier: number,
  secret: string,
  challenge: Uint8Array,
): Buffer {
  const known = ALGORITHMS.find(({ id }) => id === algorithm)
  if (!known) throw new IscsiError('protocol', `CHAP algorithm ${algorithm} is not supported`)
  const message = Buffer.concat([Buffer.from([identifier]), Buffer.from(secret, 'utf8'), challenge])
  // A runtime in FIPS mode has no MD5, though CHAP must.
  if (known.id === 5) return md5(message)
  return createHash(known.hash).update(message).digest()
}

/** Binary value: 0x and hex digits (an odd number is allowed), or 0b and base64. Undefined when it is neither. */
export function parseBinary(value: string): Buffer | undefined {
  const digits = value.slice(2)
  if (/^0[xX]/.test(value)) {
    if (!/^[0-9a-fA-F]+$/.test(digits)) return undefined
    return Buffer.from(digits.length % 2 ? `0${digits}` : digits, 'hex')
  }
  if (/^0[bB]/.test(value)) {
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(digits)) return undefined
    return Buffer.from(digits, 'base64')
  }
  return undefined
}

export function formatBinary(bytes: Uint8Array): string {
  return `0x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`
}

/** The target's half. One object for each login; a method that throws has ended it. */
export class ChapAuthenticator {
  readonly #accounts: readonly Chap[]
  readonly #identifier: number
  readonly #challenge: Buffer
  #algorithm = 0

  /**
   * @param accounts any of which may log in
   * @param random fresh random bytes: one for the identifier, then at least 16 for the challenge
   */
  constructor(accounts: readonly Chap[], random: Buffer) {
    this.#accounts = accounts
    this.#identifier = random.readUInt8(0)
    this.#challenge = random.subarray(1)
  }

  /** Answers CHAP_A. */
  challenge(keys: ReadonlyMap<string, string>): KeyValue[] {
    this.#algorithm = chooseAlgorithm(keys.get('CHAP_A'))
    return [
      ['CHAP_A', String(this.#algorithm)],
      ['CHAP_I', String(this.#identifier)],
      ['CHAP_C', formatBinary(this.#challenge)],
    ]
  }

  /**
   * Checks CHAP_N and CHAP_R, and answers the initiator's own challenge.
   * @throws IscsiError `authentication`, in the same words whether the name or the secret was wrong
   */
  verify(keys: ReadonlyMap<string, string>): KeyValue[] {
    const name = keys.get('CHAP_N')
    const answer = parseBinary(keys.get('CHAP_R') ?? '')
    if (name === undefined || answer === undefined)
      throw new IscsiError('protocol', 'CHAP_N or CHAP_R is missing')
    let account: Chap | undefined
    for (const candidate of this.#accounts) {
      // Computed for every account, so that time does not tell which names exist.
      const expected = chapAnswer(this.#algorithm, this.#identifier, candidate.password, this.#challenge)
      if (sameBytes(expected, answer) && candidate.username === name) account = candidate
    }
    if (!account) throw failed()
    return this.#proveBack(account, keys)
  }

  #proveBack(account: Chap, keys: ReadonlyMap<string, string>): KeyValue[] {
    const identifier = keys.get('CHAP_I')
    const challenge = keys.get('CHAP_C')
    if (identifier === undefined && challenge === undefined) return []
    // The initiator wants a proof that this target cannot give: it must not take silence for one.
    if (!account.mutual) throw failed()
    const theirs = parseBinary(challenge ?? '')
    const id = parseNumber(identifier ?? '', 0, 255)
    if (!theirs || id === undefined || theirs.byteLength > MAX_CHALLENGE_BYTES) {
      throw new IscsiError('protocol', 'CHAP_I or CHAP_C is malformed')
    }
    // A challenge sent back to us: answering it would hand out the answer to our own question.
    if (sameBytes(theirs, this.#challenge)) throw failed()
    const answer = chapAnswer(this.#algorithm, id, account.mutual.password, theirs)
    return [
      ['CHAP_N', account.mutual.username],
      ['CHAP_R', formatBinary(answer)],
    ]
  }
}

/** The initiator's half. One object for each login. */
export class ChapResponder {
  readonly #chap: Chap
  readonly #identifier: number
  readonly #challenge: Buffer
  #algorithm = 0

  /** @param random fresh random bytes, as for ChapAuthenticator; used only for mutual authentication */
  constructor(chap: Chap, random: Buffer) {
    this.#chap = chap
    this.#identifier = random.readUInt8(0)
    this.#challenge = random.subarray(1)
  }

  /** The first keys: which algorithms there are. */
  propose(): KeyValue[] {
    return [['CHAP_A', ALGORITHMS.map(({ id }) => id).join(',')]]
  }

  /** Answers the target's challenge. @throws IscsiError `protocol` or `authentication` */
  answer(keys: ReadonlyMap<string, string>): KeyValue[] {
    this.#algorithm = chooseAlgorithm(keys.get('CHAP_A'))
    const identifier = parseNumber(keys.get('CHAP_I') ?? '', 0, 255)
    const challenge = parseBinary(keys.get('CHAP_C') ?? '')
    if (identifier === undefined || !challenge || challenge.byteLength > MAX_CHALLENGE_BYTES) {
      throw new IscsiError('protocol', 'the target sent no usable CHAP challenge')
    }
    const answer = chapAnswer(this.#algorithm, identifier, this.#chap.password, challenge)
    const pairs: KeyValue[] = [
      ['CHAP_N', this.#chap.username],
      ['CHAP_R', formatBinary(answer)],
    ]
    if (this.#chap.mutual) {
      if (sameBytes(challenge, this.#challenge)) throw failed()
      pairs.push(['CHAP_I', String(this.#identifier)], ['CHAP_C', formatBinary(this.#challenge)])
    }
    return pairs
  }

  /** Checks the target's proof; nothing to check without `mutual`. @throws IscsiError `authentication` */
  verify(keys: ReadonlyMap<string, string>): void {
    if (!this.#chap.mutual) return
    const answer = parseBinary(keys.get('CHAP_R') ?? '')
    const { username, password } = this.#chap.mutual
    const expected = chapAnswer(this.#algorithm, this.#identifier, password, this.#challenge)
    if (!answer || !sameBytes(expected, answer) || keys.get('CHAP_N') !== username) {
      throw new IscsiError('authentication', 'the target could not prove who it is')
    }
  }
}

/** The first of the peer's list that we know. */
function chooseAlgorithm(list: string | undefined): number {
  for (const item of (list ?? '').split(',')) {
    const id = parseNumber(item, 0, 255)
    if (ALGORITHMS.some((known) => known.id === id) && id !== undefined) return id
  }
  throw new IscsiError('authentication', 'no CHAP algorithm in common')
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && timingSafeEqual(a, b)
}

function failed(): IscsiError {
  return new IscsiError('authentication', 'CHAP authentication failed')
}
