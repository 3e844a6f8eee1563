import { type Inspection, inspectedFormats } from './inspect.ts'

/** What inspection means for an image that was declared to be in a format. */
export type Verdict =
  | {
      readonly accepted: true
      /** Bytes the guest would see; absent for formats that inspection knows nothing about. */
      readonly virtualSizeBytes: number | undefined
      /** What would have been refused if the configuration were stricter; for the log. */
      readonly warnings: readonly string[]
    }
  | {
      readonly accepted: false
      /** `unsafe` is fatal whatever the configuration says. */
      readonly reason: 'mismatch' | 'unsafe'
      /** A sentence for the user. */
      readonly message: string
    }

export interface VerdictOptions {
  /** `[image_format] require_image_format_match`: false turns mismatches into warnings. Default true. */
  readonly requireMatch?: boolean
  /** `[image_format] gpt_safety_checks_nonfatal`: names of partition table checks that only warn. */
  readonly nonfatalGptChecks?: readonly string[]
}

/**
 * Compares what an image is with what it was declared to be.
 * @param diskFormat the image's `disk_format`
 * @see image-api specification 7.1 (the table of verdicts)
 */
export function judge(inspection: Inspection, diskFormat: string, options: VerdictOptions = {}): Verdict {
  const nonfatal = inspection.format === 'gpt' ? (options.nonfatalGptChecks ?? []) : []
  const fatal = inspection.problems.filter((problem) => !nonfatal.includes(problem.check))
  const warnings = inspection.problems
    .filter((problem) => nonfatal.includes(problem.check))
    .map((problem) => problem.message)
  const [first] = fatal
  if (first !== undefined) return { accepted: false, reason: 'unsafe', message: first.message }
  if (diskFormat === 'raw') {
    return { accepted: true, virtualSizeBytes: inspection.streamBytes, warnings }
  }
  if (inspection.format === diskFormat) {
    return { accepted: true, virtualSizeBytes: inspection.virtualSizeBytes, warnings }
  }
  if (inspection.format === 'raw' && !inspectedFormats.has(diskFormat)) {
    return { accepted: true, virtualSizeBytes: undefined, warnings }
  }
  const message = `The image was declared as ${diskFormat} but its data is in the ${inspection.format} format.`
  if (options.requireMatch ?? true) return { accepted: false, reason: 'mismatch', message }
  const virtualSizeBytes = inspection.format === 'raw' ? undefined : inspection.virtualSizeBytes
  return { accepted: true, virtualSizeBytes, warnings: [...warnings, message] }
}
