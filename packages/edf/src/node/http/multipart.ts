import { invalidRequest } from '../errors.ts'

/** A part of a form begins (`name` and `fileName` from its header), or the next bytes of it. */
export type MultipartEvent =
  | { readonly kind: 'part'; readonly name: string; readonly fileName: string | undefined }
  | { readonly kind: 'data'; readonly bytes: Buffer }

const maximumHeaderBytes = 16_384

/**
 * Reads `multipart/form-data` as it comes, holding no more than a header (RFC 7578, RFC 2046 section 5.1).
 * @param boundary as the content type names it
 * @throws ApiError 400 when it is no such form, or ends early
 */
export async function* readMultipart(
  body: AsyncIterable<Buffer>,
  boundary: string,
): AsyncGenerator<MultipartEvent, void, undefined> {
  const delimiter = Buffer.from(`\r\n--${boundary}`)
  // The first delimiter may stand without a line end before it.
  let pending: Buffer = Buffer.from('\r\n')
  let state: 'preamble' | 'delimiter' | 'header' | 'data' | 'end' = 'preamble'
  for await (const chunk of body) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk])
    for (let moved = true; moved; ) {
      moved = false
      if (state === 'preamble' || state === 'data') {
        const at = pending.indexOf(delimiter)
        // What could be the beginning of a delimiter stays until more is there.
        const sure = at >= 0 ? at : Math.max(0, pending.length - delimiter.length + 1)
        if (state === 'data' && sure > 0) yield { kind: 'data', bytes: pending.subarray(0, sure) }
        pending = pending.subarray(sure)
        if (at >= 0) {
          pending = pending.subarray(delimiter.length)
          state = 'delimiter'
          moved = true
        }
      } else if (state === 'delimiter' && pending.length >= 2) {
        const mark = pending.toString('latin1', 0, 2)
        if (mark !== '--' && mark !== '\r\n') throw notMultipart()
        state = mark === '--' ? 'end' : 'header'
        // The line end stays: a header without lines ends with it.
        if (mark === '--') pending = pending.subarray(2)
        moved = true
      } else if (state === 'header') {
        const at = pending.indexOf('\r\n\r\n')
        if (at < 0 && pending.length > maximumHeaderBytes) throw notMultipart()
        if (at >= 0) {
          yield partOf(pending.toString('utf8', 0, at))
          pending = pending.subarray(at + 4)
          state = 'data'
          moved = true
        }
      }
    }
  }
  if (state !== 'end') throw notMultipart()
}

function partOf(header: string): MultipartEvent {
  const disposition = /^content-disposition:(.*)$/im.exec(header)?.[1] ?? ''
  const name = /;\s*name="([^"]*)"/i.exec(disposition)?.[1]
  if (name === undefined) throw notMultipart()
  return { kind: 'part', name, fileName: /;\s*filename="([^"]*)"/i.exec(disposition)?.[1] }
}

/** The boundary of a content type, undefined when it is no multipart. */
export function boundaryOf(contentType: string): string | undefined {
  return /^multipart\/form-data\s*;.*\bboundary=(?:"([^"]+)"|([^\s;]+))/i
    .exec(contentType)
    ?.slice(1)
    .find(Boolean)
}

const notMultipart = () => invalidRequest('The body of the request is not a complete multipart form')
