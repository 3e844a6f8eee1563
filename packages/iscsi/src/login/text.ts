/** Text keys: `key=value` pairs, each ended by a NUL (RFC 7143 section 6.1). */
import { IscsiError } from '../errors.ts'

export type KeyValue = readonly [key: string, value: string]

/** Bytes of text that one negotiation may collect over all its PDUs. */
export const MAX_TEXT_BYTES = 65536

const MAX_KEY = 63
const MAX_VALUE = 255
/** Keys with binary values, which may be longer (RFC 7143 section 6.1: up to 1024 bytes, as hex digits). */
const LONG_VALUES = new Set(['CHAP_C', 'CHAP_R'])
const MAX_LONG_VALUE = 2 + 2 * 1024
const NAMES = new Set(['InitiatorName', 'TargetName'])
const MAX_NAME = 223

/** Keys may repeat (a SendTargets answer does); order is kept. @throws IscsiError `protocol` */
export function parseText(text: Uint8Array): KeyValue[] {
  if (text.byteLength === 0) return []
  if (text.byteLength > MAX_TEXT_BYTES) throw malformed(`more than ${MAX_TEXT_BYTES} bytes`)
  if (text[text.byteLength - 1] !== 0) throw malformed('a pair without its ending NUL')
  let decoded: string
  try {
    decoded = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text)
  } catch {
    throw malformed('bytes that are not UTF-8')
  }
  const pairs: KeyValue[] = []
  for (const pair of decoded.slice(0, -1).split('\0')) {
    if (pair === '') continue // some initiators pad with NULs
    const equals = pair.indexOf('=')
    if (equals < 1) throw malformed("a pair without '='")
    const key = pair.slice(0, equals)
    const value = pair.slice(equals + 1)
    if (key.length > MAX_KEY) throw malformed(`a key longer than ${MAX_KEY} characters`)
    const limit = LONG_VALUES.has(key) ? MAX_LONG_VALUE : NAMES.has(key) ? MAX_NAME : MAX_VALUE
    if (Buffer.byteLength(value) > limit) throw malformed(`a value of ${key} longer than ${limit} bytes`)
    pairs.push([key, value])
  }
  return pairs
}

export function encodeText(pairs: readonly KeyValue[]): Buffer {
  return Buffer.from(pairs.map(([key, value]) => `${key}=${value}\0`).join(''), 'utf8')
}

/** The pairs as a map. @throws IscsiError `protocol` when a key comes twice */
export function uniqueKeys(pairs: readonly KeyValue[]): Map<string, string> {
  const keys = new Map<string, string>()
  for (const [key, value] of pairs) {
    if (keys.has(key)) throw malformed(`the key ${key} twice`)
    keys.set(key, value)
  }
  return keys
}

/**
 * A number as text keys write it: decimal, or hex after 0x (RFC 7143 section 6.1).
 * Undefined when it is neither, or outside `minimum`..`maximum`.
 */
export function parseNumber(value: string, minimum: number, maximum: number): number | undefined {
  if (!/^(?:[0-9]{1,16}|0[xX][0-9a-fA-F]{1,13})$/.test(value)) return undefined
  const number = Number(value)
  return number >= minimum && number <= maximum ? number : undefined
}

function malformed(what: string): IscsiError {
  return new IscsiError('protocol', `the text holds ${what}`)
}
