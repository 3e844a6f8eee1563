/** Text negotiation in full feature phase, such as SendTargets: RFC 7143 section 11.10, 11.11. */
import { IscsiError } from '../errors.ts'
import { NO_TAG } from '../pdu/header.ts'
import { encodeTextRequest } from '../pdu/text-request.ts'
import { decodeTextResponse } from '../pdu/text-response.ts'
import type { Session } from './session.ts'

/**
 * Asks, and collects an answer of any number of PDUs.
 * @throws IscsiError `timeout`, `rejected`, `protocol`, `closed`
 */
export async function requestText(
  session: Session,
  request: Buffer,
  timeoutMs: number,
  maxBytes: number,
): Promise<Buffer> {
  const parts: Buffer[] = []
  let bytes = 0
  let text = request
  let targetTransferTag = NO_TAG
  let lunField: Buffer = Buffer.alloc(8)
  for (;;) {
    const fields = { immediate: true, final: true, continued: false, dataLength: text.byteLength }
    const answer = await session.request({
      what: 'the answer to a text request',
      timeoutMs,
      data: text,
      encode: (numbers, header) =>
        encodeTextRequest({ ...fields, ...numbers, lunField, targetTransferTag }, header),
    })
    bytes += answer.data.byteLength
    if (bytes > maxBytes) {
      throw new IscsiError('protocol', `the target sent more than ${maxBytes} bytes of text`)
    }
    parts.push(answer.data)
    const response = decodeTextResponse(answer.header)
    if (response.final) return Buffer.concat(parts)
    if (response.targetTransferTag === NO_TAG) {
      throw new IscsiError('protocol', 'the target sent a part of a text without a tag to go on with')
    }
    targetTransferTag = response.targetTransferTag
    lunField = response.lunField
    text = Buffer.alloc(0)
  }
}
