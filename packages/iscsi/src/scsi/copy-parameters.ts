/**
 * The parameter list of EXTENDED COPY(LID1): SPC-4 sections 6.4 and 7.2 (SPC-4's "CSCD descriptors" are SPC-3's target
 * descriptors). Pure.
 *
 *   0 list identifier   1 usage, priority   2-3 length of the CSCD descriptors   8-11 length of the segment descriptors
 *   12-15 length of inline data   16… CSCD descriptors of 32 bytes, segment descriptors, inline data
 */
import { readUInt64 } from './command-block.ts'
import { checkCondition } from './logical-unit.ts'
import { Conditions } from './sense.ts'

/** Limits that RECEIVE COPY RESULTS and page 8F announce. */
export const MAX_COPY_UNITS = 8
export const MAX_COPY_SEGMENTS = 64
export const UNIT_DESCRIPTOR_BYTES = 32
export const SEGMENT_DESCRIPTOR_BYTES = 28
/** Bytes of all descriptors together. */
export const MAX_DESCRIPTOR_BYTES =
  MAX_COPY_UNITS * UNIT_DESCRIPTOR_BYTES + MAX_COPY_SEGMENTS * SEGMENT_DESCRIPTOR_BYTES
export const COPY_HEADER_BYTES = 16

/** Descriptor types that are understood. */
export const IDENTIFICATION_DESCRIPTOR = 0xe4
export const BLOCK_TO_BLOCK_SEGMENT = 0x02

/** What becomes of the result of a copy. */
export const ListIdUsage = { hold: 0, discard: 2, none: 3 } as const

/** Names a unit as VPD page 83 does. */
export interface UnitDesignator {
  /** Low four bits of the designator's first byte. */
  readonly codeSet: number
  readonly type: number
  readonly value: Buffer
}

export interface CopySegment {
  /** Indexes into the units. */
  readonly source: number
  readonly destination: number
  /** The blocks are counted in the destination's size (DC), else in the source's. */
  readonly countsDestination: boolean
  readonly blocks: number
  readonly sourceLba: number
  readonly destinationLba: number
}

export interface CopyParameters {
  readonly listId: number
  /** Whether the result is kept for RECEIVE COPY RESULTS. */
  readonly held: boolean
  readonly units: readonly UnitDesignator[]
  readonly segments: readonly CopySegment[]
}

/** @throws ScsiError with the condition that SPC-4 section 6.4 names */
export function parseCopyParameters(list: Buffer): CopyParameters {
  if (list.byteLength < COPY_HEADER_BYTES) throw checkCondition(Conditions.parameterListLengthError)
  const usage = (list.readUInt8(1) >> 3) & 3
  const unitBytes = list.readUInt16BE(2)
  const segmentBytes = list.readUInt32BE(8)
  if (list.readUInt32BE(12) > 0) throw checkCondition(Conditions.inlineDataLengthExceeded)
  if (usage === 1) throw checkCondition(Conditions.invalidFieldInParameterList)
  if (
    unitBytes + segmentBytes > MAX_DESCRIPTOR_BYTES ||
    COPY_HEADER_BYTES + unitBytes + segmentBytes > list.byteLength ||
    unitBytes % UNIT_DESCRIPTOR_BYTES !== 0
  ) {
    throw checkCondition(Conditions.parameterListLengthError)
  }
  const segmentsAt = COPY_HEADER_BYTES + unitBytes
  if (unitBytes > MAX_COPY_UNITS * UNIT_DESCRIPTOR_BYTES)
    throw checkCondition(Conditions.tooManyTargetDescriptors)
  return {
    listId: list.readUInt8(0),
    held: usage === ListIdUsage.hold,
    units: parseUnits(list.subarray(COPY_HEADER_BYTES, segmentsAt)),
    segments: parseSegments(list.subarray(segmentsAt, segmentsAt + segmentBytes)),
  }
}

function parseUnits(list: Buffer): UnitDesignator[] {
  const units: UnitDesignator[] = []
  for (let at = 0; at < list.byteLength; at += UNIT_DESCRIPTOR_BYTES) {
    const type = list.readUInt8(at)
    // 00 is a direct access block device: the only peripheral device type there is here.
    const isDisk = (list.readUInt8(at + 1) & 0x1f) === 0
    if (type !== IDENTIFICATION_DESCRIPTOR) throw checkCondition(Conditions.unsupportedTargetDescriptorType)
    const length = list.readUInt8(at + 7)
    if (!isDisk || length > 20) throw checkCondition(Conditions.invalidFieldInParameterList)
    units.push({
      codeSet: list.readUInt8(at + 4) & 0x0f,
      type: list.readUInt8(at + 5) & 0x0f,
      value: Buffer.from(list.subarray(at + 8, at + 8 + length)),
    })
  }
  return units
}

function parseSegments(list: Buffer): CopySegment[] {
  const segments: CopySegment[] = []
  for (let at = 0; at < list.byteLength; at += SEGMENT_DESCRIPTOR_BYTES) {
    if (list.readUInt8(at) !== BLOCK_TO_BLOCK_SEGMENT) {
      throw checkCondition(Conditions.unsupportedSegmentDescriptorType)
    }
    if (at + SEGMENT_DESCRIPTOR_BYTES > list.byteLength)
      throw checkCondition(Conditions.parameterListLengthError)
    if (list.readUInt16BE(at + 2) !== SEGMENT_DESCRIPTOR_BYTES - 4) {
      throw checkCondition(Conditions.invalidFieldInParameterList)
    }
    if (segments.length === MAX_COPY_SEGMENTS) throw checkCondition(Conditions.tooManySegmentDescriptors)
    segments.push({
      source: list.readUInt16BE(at + 4),
      destination: list.readUInt16BE(at + 6),
      countsDestination: (list.readUInt8(at + 1) & 0x02) !== 0,
      blocks: list.readUInt16BE(at + 10),
      sourceLba: readUInt64(list, at + 12),
      destinationLba: readUInt64(list, at + 20),
    })
  }
  return segments
}
