import { FormatInspector } from '../../disk-image/inspect.ts'
import { judge } from '../../disk-image/verdict.ts'
import type { Bytes } from '../../kernel/bytes.ts'
import { Invalid, OverQuota, Unsupported } from '../../kernel/errors.ts'
import type { Logger } from '../../kernel/log.ts'
import type { SignatureVerifier } from '../signatures/verifier.ts'
import type { DigestPool } from './digest-pool.ts'

/** What was learned of an image's data while it passed. */
export interface DataFacts {
  readonly sizeBytes: number
  readonly virtualSizeBytes: number | undefined
  /** MD5, hexadecimal. */
  readonly checksum: string
  readonly hashValue: string
}

export interface DataChecks {
  readonly diskFormat: string
  /** Only data in `bare` containers is inspected. */
  readonly containerFormat: string
  readonly hashingAlgorithm: string
  /** What the client announced; another length is refused. */
  readonly expectedBytes: number | undefined
  readonly maxBytes: number
  readonly requireFormatMatch: boolean
  readonly nonfatalGptChecks: readonly string[]
  /** Of a signed image. */
  readonly verifier?: SignatureVerifier | undefined
  readonly log: Logger
}

/** Everything that is checked and computed while an image passes, once, whatever store it goes to. */
export class CheckedData implements Disposable {
  readonly #source: Bytes
  readonly #checks: DataChecks
  readonly #digests: ReturnType<DigestPool['begin']>
  readonly #inspector: FormatInspector | undefined
  #sizeBytes = 0
  #virtualSizeBytes: number | undefined
  #complete = false
  #finished: Promise<readonly string[]> | undefined

  constructor(source: Bytes, checks: DataChecks, pool: DigestPool) {
    this.#source = source
    this.#checks = checks
    this.#digests = pool.begin(['md5', checks.hashingAlgorithm])
    this.#inspector = checks.containerFormat === 'bare' ? new FormatInspector() : undefined
  }

  /**
   * The data for the store. Its last pull throws when the whole must be refused, so that the store keeps nothing.
   * @throws Invalid when the length is not what was announced, or the signature is wrong; OverQuota beyond the limit; Unsupported when the
   *   format is unsafe or not the declared one
   */
  async *bytes(): Bytes {
    const { expectedBytes, maxBytes } = this.#checks
    for await (const chunk of this.#source) {
      this.#sizeBytes += chunk.byteLength
      if (this.#sizeBytes > maxBytes) {
        throw new OverQuota(`The image is larger than the ${maxBytes} bytes allowed.`)
      }
      if (expectedBytes !== undefined && this.#sizeBytes > expectedBytes) throw this.#wrongLength()
      this.#inspector?.push(chunk)
      this.#checks.verifier?.push(chunk)
      const waiting = this.#digests.push(chunk)
      if (waiting !== undefined) await waiting
      yield chunk
    }
    if (expectedBytes !== undefined && this.#sizeBytes !== expectedBytes) throw this.#wrongLength()
    this.#checks.verifier?.finish()
    this.#judge()
    this.#complete = true
  }

  /** Call it when the data has been pulled to its end. */
  async facts(): Promise<DataFacts> {
    if (!this.#complete) throw new Invalid('The image store did not take all of the data.')
    this.#finished ??= this.#digests.finish()
    const [checksum = '', hashValue = ''] = await this.#finished
    return { sizeBytes: this.#sizeBytes, virtualSizeBytes: this.#virtualSizeBytes, checksum, hashValue }
  }

  [Symbol.dispose](): void {
    this.#digests[Symbol.dispose]()
  }

  #wrongLength(): Invalid {
    return new Invalid(
      `The data has ${this.#sizeBytes > (this.#checks.expectedBytes ?? 0) ? 'more' : 'fewer'} bytes than the ${this.#checks.expectedBytes} announced.`,
    )
  }

  #judge(): void {
    if (this.#inspector === undefined) return
    const { diskFormat, requireFormatMatch, nonfatalGptChecks, log } = this.#checks
    const verdict = judge(this.#inspector.finish(), diskFormat, {
      requireMatch: requireFormatMatch,
      nonfatalGptChecks,
    })
    if (!verdict.accepted) {
      throw new Unsupported(verdict.message, { details: { reason: verdict.reason } })
    }
    for (const warning of verdict.warnings)
      log.warn({ diskFormat, warning }, 'image data accepted with a warning')
    this.#virtualSizeBytes = verdict.virtualSizeBytes
  }
}
