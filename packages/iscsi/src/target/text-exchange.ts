/** Text negotiation in full feature phase, which is SendTargets: RFC 7143 sections 11.10, 11.11, appendix C. */

import type { SessionParameters } from '../login/negotiate.ts'
import { encodeText, type KeyValue, MAX_TEXT_BYTES, parseNumber, parseText } from '../login/text.ts'
import { NO_TAG } from '../pdu/header.ts'
import { RejectReason } from '../pdu/reject.ts'
import type { TextRequest } from '../pdu/text-request.ts'
import { encodeTextResponse } from '../pdu/text-response.ts'
import type { PduWriter } from './pdu-writer.ts'

interface TextHost {
  readonly writer: PduWriter
  readonly parameters: SessionParameters
  numbers(): { expCmdSn: number; maxCmdSn: number }
  takeStatSn(): number
  reject(reason: number, header: Buffer): void
}

const NAME = /^(?:iqn|eui|naa)\.[^\s]+$/i

export class TextExchange {
  readonly #host: TextHost
  readonly #sendTargets: (name: string | undefined) => readonly KeyValue[]
  readonly #own: string | undefined
  #collected: Buffer[] = []
  #collectedBytes = 0
  /** The rest of an answer that did not fit, and the tag to ask for it with. */
  #rest = Buffer.alloc(0)
  #transferTag = NO_TAG
  #nextTransferTag = 1

  /** @param own the session's target; undefined for a discovery session */
  constructor(
    host: TextHost,
    sendTargets: (name: string | undefined) => readonly KeyValue[],
    own: string | undefined,
  ) {
    this.#host = host
    this.#sendTargets = sendTargets
    this.#own = own
  }

  receive(pdu: TextRequest, header: Buffer, data: Buffer): void {
    if (pdu.targetTransferTag !== NO_TAG) {
      if (pdu.targetTransferTag !== this.#transferTag) {
        this.#reject(header, RejectReason.protocolError)
        return
      }
    } else {
      this.#reset()
    }
    if (this.#rest.byteLength > 0) {
      this.#send(pdu, this.#rest)
      return
    }
    this.#collectedBytes += data.byteLength
    if (this.#collectedBytes > MAX_TEXT_BYTES) {
      this.#reject(header, RejectReason.protocolError)
      return
    }
    this.#collected.push(data)
    if (pdu.continued) {
      if (pdu.final) {
        this.#reject(header, RejectReason.protocolError)
        return
      }
      this.#send(pdu, Buffer.alloc(0), true)
      return
    }
    let answers: KeyValue[] | undefined
    try {
      answers = this.#answer(parseText(Buffer.concat(this.#collected)))
    } catch {
      answers = undefined
    }
    this.#collected = []
    this.#collectedBytes = 0
    if (!answers) {
      this.#reject(header, RejectReason.protocolError)
      return
    }
    this.#send(pdu, encodeText(answers))
  }

  /** Undefined: to be rejected. */
  #answer(pairs: readonly KeyValue[]): KeyValue[] | undefined {
    const answers: KeyValue[] = []
    for (const [key, value] of pairs) {
      if (key === 'SendTargets') {
        const targets = this.#targets(value)
        if (!targets) return undefined
        answers.push(...targets)
      } else if (key === 'MaxRecvDataSegmentLength') {
        const length = parseNumber(value, 512, 0xffffff)
        // A longer segment is not used, a shorter one would have to be: only the first is harmless.
        if (length === undefined || length < this.#host.parameters.peerMaxRecvDataSegmentLength) {
          answers.push([key, 'Reject'])
        }
      } else if (key.startsWith('X-')) {
        answers.push([key, 'NotUnderstood'])
      } else {
        return undefined
      }
    }
    return answers
  }

  #targets(value: string): readonly KeyValue[] | undefined {
    if (this.#own !== undefined) {
      // By the letter All is for discovery sessions; others answer it with the session's own target.
      const isOwn = value === '' || value === 'All' || value.toLowerCase() === this.#own
      return isOwn ? this.#sendTargets(this.#own) : NAME.test(value) ? [] : undefined
    }
    if (value === 'All') return this.#sendTargets(undefined)
    return NAME.test(value) ? this.#sendTargets(value.toLowerCase()) : undefined
  }

  #send(pdu: TextRequest, text: Buffer, more = false): void {
    const { peerMaxRecvDataSegmentLength } = this.#host.parameters
    const part = Buffer.from(text.subarray(0, peerMaxRecvDataSegmentLength))
    this.#rest = Buffer.from(text.subarray(part.byteLength))
    const final = !more && this.#rest.byteLength === 0
    if (final) this.#transferTag = NO_TAG
    else {
      this.#transferTag = this.#nextTransferTag
      this.#nextTransferTag = this.#nextTransferTag >= 0xfffffffe ? 1 : this.#nextTransferTag + 1
    }
    const response = {
      final,
      continued: this.#rest.byteLength > 0,
      lunField: pdu.lunField,
      initiatorTaskTag: pdu.initiatorTaskTag,
      targetTransferTag: this.#transferTag,
      statSn: this.#host.takeStatSn(),
      ...this.#host.numbers(),
      dataLength: part.byteLength,
    }
    this.#host.writer.write((into, at) => encodeTextResponse(response, into, at), part)
  }

  #reject(header: Buffer, reason: number): void {
    this.#reset()
    this.#host.reject(reason, header)
  }

  #reset(): void {
    this.#collected = []
    this.#collectedBytes = 0
    this.#rest = Buffer.alloc(0)
    this.#transferTag = NO_TAG
  }
}
