import { type Finding, type Probe, ProbeRunner, type RichFormat, type SafetyProblem } from './probe.ts'
import { gptProbe } from './probes/gpt.ts'
import { isoProbe } from './probes/iso.ts'
import { luksProbe } from './probes/luks.ts'
import { qcow2Probe } from './probes/qcow2.ts'
import { qedProbe } from './probes/qed.ts'
import { vdiProbe } from './probes/vdi.ts'
import { vhdProbe } from './probes/vhd.ts'
import { vhdxProbe } from './probes/vhdx.ts'
import { vmdkProbe } from './probes/vmdk.ts'

const probes: Readonly<Record<RichFormat, () => Probe>> = {
  qcow2: qcow2Probe,
  qed: qedProbe,
  vhd: vhdProbe,
  vhdx: vhdxProbe,
  vmdk: vmdkProbe,
  vdi: vdiProbe,
  iso: isoProbe,
  gpt: gptProbe,
  luks: luksProbe,
}

/** The names of `disk_format` that inspection can tell apart; `raw` is what is left. */
export const inspectedFormats: ReadonlySet<string> = new Set(['raw', ...Object.keys(probes)])

/** What the bytes of an image say of themselves. */
export interface Inspection {
  /** `raw` when nothing was recognised, `ambiguous` when several formats claim the image. */
  readonly format: RichFormat | 'raw' | 'ambiguous' | 'failed'
  /** Every format that recognised itself. */
  readonly matches: readonly RichFormat[]
  /** Bytes the guest would see; for raw the length of the stream. */
  readonly virtualSizeBytes: number
  /** Bytes that were pushed. */
  readonly streamBytes: number
  /** Why the detected format must not be opened; empty when it is safe. */
  readonly problems: readonly SafetyProblem[]
}

/**
 * Recognises the format of an image while it streams by, before any tool opens it. Memory is bounded by the
 * headers that the formats need (about 1 MiB at worst), time is linear, and no input makes it throw.
 * @see image-api specification 7.1, 7.2
 */
export class FormatInspector {
  #position = 0
  readonly #runners: readonly (readonly [RichFormat, ProbeRunner])[]
  #waiting: readonly ProbeRunner[]

  constructor() {
    this.#runners = Object.entries(probes).map(
      ([format, start]) => [format as RichFormat, new ProbeRunner(start())] as const, // keys of a typed record
    )
    this.#waiting = this.#runners.map(([, runner]) => runner)
  }

  /** Takes the next bytes of the stream; costs nothing once every format has made up its mind. */
  push(chunk: Uint8Array): void {
    if (this.#waiting.length > 0) {
      for (const runner of this.#waiting) runner.push(this.#position, chunk)
      if (this.#waiting.some((runner) => !runner.waiting)) {
        this.#waiting = this.#waiting.filter((runner) => runner.waiting)
      }
    }
    this.#position += chunk.byteLength
  }

  /** What was found. Call it once, after the last byte. */
  finish(): Inspection {
    for (const [, runner] of this.#runners) runner.finish()
    this.#waiting = []
    const streamBytes = this.#position
    const findings = new Map<RichFormat, Finding>()
    for (const [format, runner] of this.#runners) {
      if (runner.crash !== undefined) {
        const problems = [{ check: 'inspection', message: `Inspecting the image as ${format} failed.` }]
        return { format: 'failed', matches: [], virtualSizeBytes: 0, streamBytes, problems }
      }
      if (runner.finding !== undefined) findings.set(format, runner.finding)
    }
    const matches = [...findings.keys()]
    // An ISO that also boots from a stick carries a partition table: it is an ISO still.
    if (matches.length === 2 && findings.has('iso')) findings.delete('gpt')
    const [only, ...others] = findings
    if (only === undefined) {
      return { format: 'raw', matches, virtualSizeBytes: streamBytes, streamBytes, problems: [] }
    }
    if (others.length > 0) {
      const message = `The image is in several formats at once: ${matches.join(', ')}.`
      const problems = [{ check: 'ambiguous', message }]
      return { format: 'ambiguous', matches, virtualSizeBytes: streamBytes, streamBytes, problems }
    }
    const [format, finding] = only
    const virtualSizeBytes = finding.virtualSizeBytes(streamBytes)
    return { format, matches, virtualSizeBytes, streamBytes, problems: finding.problems }
  }
}
