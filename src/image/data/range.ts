import type { ByteRange } from '../../kernel/bytes.ts'
import { HttpFault } from '../faults.ts'

/**
 * Reads `Range`, or the historic `Content-Range`, of a download.
 * @returns undefined for the whole image
 * @throws HttpFault 400 for several ranges, 416 for what cannot be satisfied
 * @see image-api specification 1.13
 */
export function parseRange(
  headers: { range?: string | undefined; 'content-range'?: string | undefined },
  sizeBytes: number,
): ByteRange | undefined {
  const { range, 'content-range': contentRange } = headers
  if (range !== undefined) return fromRange(range, sizeBytes)
  if (contentRange !== undefined) return fromContentRange(contentRange, sizeBytes)
  return undefined
}

function fromRange(header: string, sizeBytes: number): ByteRange {
  const match = /^\s*bytes\s*=(.*)$/i.exec(header)
  if (match?.[1]?.includes(',') === true)
    throw new HttpFault(400, 'Requests with multiple ranges are not supported.')
  const parts = /^\s*(\d*)\s*-\s*(\d*)\s*$/.exec(match?.[1] ?? '')
  const [, first = '', last = ''] = parts ?? []
  if (parts === null || (first === '' && last === '')) throw unsatisfiable(sizeBytes)
  if (first === '') {
    const length = Number(last)
    if (length === 0 || sizeBytes === 0) throw unsatisfiable(sizeBytes)
    return { start: Math.max(0, sizeBytes - length), end: sizeBytes }
  }
  return checked(Number(first), last === '' ? sizeBytes : Number(last) + 1, sizeBytes)
}

/** `bytes 0-99/*`: what to send, in the words of an answer. */
function fromContentRange(header: string, sizeBytes: number): ByteRange {
  const match = /^\s*bytes\s+(\d+)\s*-\s*(\d+)\s*\/\s*(\d+|\*)\s*$/i.exec(header)
  if (match === null) throw unsatisfiable(sizeBytes)
  return checked(Number(match[1]), Number(match[2]) + 1, sizeBytes)
}

function checked(start: number, end: number, sizeBytes: number): ByteRange {
  if (start >= sizeBytes || end <= start) throw unsatisfiable(sizeBytes)
  return { start, end: Math.min(end, sizeBytes) }
}

function unsatisfiable(sizeBytes: number): HttpFault {
  return new HttpFault(416, 'The range of bytes that was asked for cannot be served.', {
    'content-range': `bytes */${sizeBytes}`,
  })
}
