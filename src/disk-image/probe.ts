/** The rich formats that make themselves known by their first bytes; everything else is `raw`. */
export type RichFormat = 'qcow2' | 'qed' | 'vhd' | 'vhdx' | 'vmdk' | 'vdi' | 'iso' | 'gpt' | 'luks'

/** Why an image must not be opened by any tool. */
export interface SafetyProblem {
  /** Stable name of the check that failed, for logs and configuration. */
  readonly check: string
  /** A sentence for the user. */
  readonly message: string
}

/** What a probe says of an image in its format. */
export interface Finding {
  /** Bytes the guest would see, given the length of the whole stream. */
  readonly virtualSizeBytes: (streamBytes: number) => number
  readonly problems: readonly SafetyProblem[]
}

/**
 * What a probe wants to see next: a region, not before the end of the last one, or the last bytes of the stream.
 * The answer is shorter than asked when the stream ends first.
 */
export type Wanted =
  | { readonly at: number; readonly length: number }
  | { readonly last: number; readonly at?: undefined }

/**
 * The knowledge of one format: asks for the regions it needs and returns what it found, `undefined` when the
 * image is not in its format. It sees each region once, so it is linear and bounded by what it asks for.
 */
export type Probe = Generator<Wanted, Finding | undefined, Buffer>

/** A finding whose size stands in the header. */
export function found(virtualSizeBytes: number, problems: readonly SafetyProblem[] = []): Finding {
  return { virtualSizeBytes: () => virtualSizeBytes, problems }
}

/** Nothing that a probe asks for may be longer: a stream cannot make us hold more than this per format. */
const maxRegionBytes = 1024 * 1024

/** Feeds one probe with the chunks of a stream, holding no more than the region it waits for. */
export class ProbeRunner {
  #probe: Probe | undefined
  #wanted: Wanted | undefined
  /** What has been collected of the region or the tail wanted now; filled as bytes arrive. */
  #held = Buffer.alloc(0)
  #filled = 0
  #finding: Finding | undefined
  #crash: unknown

  constructor(probe: Probe) {
    this.#probe = probe
    this.#resume(undefined, 0)
  }

  /** False once the probe has made up its mind: pushing further is of no use. */
  get waiting(): boolean {
    return this.#probe !== undefined
  }

  /** What the probe returned. */
  get finding(): Finding | undefined {
    return this.#finding
  }

  /** What the probe threw, which it never should. */
  get crash(): unknown {
    return this.#crash
  }

  /** @param position offset of the chunk in the stream */
  push(position: number, chunk: Uint8Array): void {
    const end = position + chunk.byteLength
    while (this.#wanted !== undefined) {
      const wanted = this.#wanted
      if (wanted.at === undefined) {
        this.#keepLast(wanted.last, chunk)
        return
      }
      const next = wanted.at + this.#filled
      if (next < end) {
        const part = chunk.subarray(next - position, next - position + wanted.length - this.#filled)
        this.#reserve(wanted.length, this.#filled + part.byteLength)
        this.#held.set(part, this.#filled)
        this.#filled += part.byteLength
      }
      if (this.#filled < wanted.length) return
      this.#resume(this.#held.subarray(0, this.#filled), position)
    }
  }

  /** Tells the probe that nothing more comes. */
  finish(): void {
    while (this.#wanted !== undefined) {
      this.#resume(this.#held.subarray(0, this.#filled), Number.POSITIVE_INFINITY)
    }
  }

  #resume(bytes: Buffer | undefined, position: number): void {
    try {
      const step = bytes === undefined ? this.#probe?.next() : this.#probe?.next(bytes)
      if (step === undefined || step.done) {
        this.#finding = step?.value ?? undefined
        this.#stop()
        return
      }
      const length = step.value.at === undefined ? step.value.last : step.value.length
      if (!(length > 0 && length <= maxRegionBytes)) throw new RangeError(`a probe asked for ${length} bytes`)
      const passed = step.value.at !== undefined && step.value.at < position
      if (passed && Number.isFinite(position))
        throw new RangeError('a probe asked for bytes that have passed')
      this.#wanted = step.value
      this.#held = Buffer.alloc(0)
      this.#filled = 0
    } catch (error) {
      this.#crash = error
      this.#stop()
    }
  }

  #stop(): void {
    this.#probe = undefined
    this.#wanted = undefined
    this.#held = Buffer.alloc(0)
    this.#filled = 0
  }

  /** Grows the held buffer with what really arrives, so that a claimed length alone costs nothing. */
  #reserve(limit: number, needed: number): void {
    if (needed <= this.#held.byteLength) return
    const grown = Buffer.alloc(Math.min(limit, Math.max(needed, this.#held.byteLength * 2)))
    this.#held.copy(grown, 0, 0, this.#filled)
    this.#held = grown
  }

  #keepLast(length: number, chunk: Uint8Array): void {
    this.#reserve(length, length)
    if (chunk.byteLength >= length) {
      this.#held.set(chunk.subarray(chunk.byteLength - length))
      this.#filled = length
      return
    }
    const kept = Math.min(this.#filled, length - chunk.byteLength)
    this.#held.copyWithin(0, this.#filled - kept, this.#filled)
    this.#held.set(chunk, kept)
    this.#filled = kept + chunk.byteLength
  }
}
