/** Sense data, fixed and descriptor format: SPC-4 section 4.5. Both ends use it. */
import { ScsiError } from '../errors.ts'
import { ScsiStatus, statusName } from './status.ts'

export const SenseKey = {
  noSense: 0x0,
  recoveredError: 0x1,
  notReady: 0x2,
  mediumError: 0x3,
  hardwareError: 0x4,
  illegalRequest: 0x5,
  unitAttention: 0x6,
  dataProtect: 0x7,
  blankCheck: 0x8,
  copyAborted: 0xa,
  abortedCommand: 0xb,
  volumeOverflow: 0xd,
  miscompare: 0xe,
} as const

/** Sense key, additional sense code and qualifier: what a command failed with. */
export interface Sense {
  readonly key: number
  readonly asc: number
  readonly ascq: number
  readonly information?: number
}

/** The conditions this package reports, by their SPC-4 names. */
export const Conditions = {
  noSense: { key: 0x0, asc: 0x00, ascq: 0x00 },
  notReadyBecomingReady: { key: 0x2, asc: 0x04, ascq: 0x01 },
  targetPortTransition: { key: 0x2, asc: 0x04, ascq: 0x0a },
  targetPortStandby: { key: 0x2, asc: 0x04, ascq: 0x0b },
  targetPortUnavailable: { key: 0x2, asc: 0x04, ascq: 0x0c },
  writeError: { key: 0x3, asc: 0x0c, ascq: 0x00 },
  unrecoveredReadError: { key: 0x3, asc: 0x11, ascq: 0x00 },
  internalTargetFailure: { key: 0x4, asc: 0x44, ascq: 0x00 },
  parameterListLengthError: { key: 0x5, asc: 0x1a, ascq: 0x00 },
  invalidOperationCode: { key: 0x5, asc: 0x20, ascq: 0x00 },
  addressOutOfRange: { key: 0x5, asc: 0x21, ascq: 0x00 },
  invalidFieldInCommand: { key: 0x5, asc: 0x24, ascq: 0x00 },
  logicalUnitNotSupported: { key: 0x5, asc: 0x25, ascq: 0x00 },
  invalidFieldInParameterList: { key: 0x5, asc: 0x26, ascq: 0x00 },
  invalidReleaseOfReservation: { key: 0x5, asc: 0x26, ascq: 0x04 },
  tooManyTargetDescriptors: { key: 0x5, asc: 0x26, ascq: 0x06 },
  unsupportedTargetDescriptorType: { key: 0x5, asc: 0x26, ascq: 0x07 },
  tooManySegmentDescriptors: { key: 0x5, asc: 0x26, ascq: 0x08 },
  unsupportedSegmentDescriptorType: { key: 0x5, asc: 0x26, ascq: 0x09 },
  inlineDataLengthExceeded: { key: 0x5, asc: 0x26, ascq: 0x0b },
  savingParametersNotSupported: { key: 0x5, asc: 0x39, ascq: 0x00 },
  insufficientRegistrationResources: { key: 0x5, asc: 0x55, ascq: 0x04 },
  powerOn: { key: 0x6, asc: 0x29, ascq: 0x00 },
  busReset: { key: 0x6, asc: 0x29, ascq: 0x02 },
  deviceReset: { key: 0x6, asc: 0x29, ascq: 0x03 },
  nexusLoss: { key: 0x6, asc: 0x29, ascq: 0x07 },
  modeParametersChanged: { key: 0x6, asc: 0x2a, ascq: 0x01 },
  reservationsPreempted: { key: 0x6, asc: 0x2a, ascq: 0x03 },
  reservationsReleased: { key: 0x6, asc: 0x2a, ascq: 0x04 },
  registrationsPreempted: { key: 0x6, asc: 0x2a, ascq: 0x05 },
  asymmetricAccessStateChanged: { key: 0x6, asc: 0x2a, ascq: 0x06 },
  capacityChanged: { key: 0x6, asc: 0x2a, ascq: 0x09 },
  commandsClearedByAnotherInitiator: { key: 0x6, asc: 0x2f, ascq: 0x00 },
  reportedLunsChanged: { key: 0x6, asc: 0x3f, ascq: 0x0e },
  writeProtected: { key: 0x7, asc: 0x27, ascq: 0x00 },
  softwareWriteProtected: { key: 0x7, asc: 0x27, ascq: 0x02 },
  spaceAllocationFailed: { key: 0x7, asc: 0x27, ascq: 0x07 },
  copyAborted: { key: 0xa, asc: 0x00, ascq: 0x00 },
  copyTargetNotReachable: { key: 0xa, asc: 0x0d, ascq: 0x02 },
  unexpectedInexactSegment: { key: 0xa, asc: 0x26, ascq: 0x0a },
  unexpectedUnsolicitedData: { key: 0xb, asc: 0x0c, ascq: 0x0c },
  notEnoughUnsolicitedData: { key: 0xb, asc: 0x0c, ascq: 0x0d },
  dataPhaseError: { key: 0xb, asc: 0x4b, ascq: 0x00 },
  protocolServiceCrcError: { key: 0xb, asc: 0x47, ascq: 0x05 },
  miscompare: { key: 0xe, asc: 0x1d, ascq: 0x00 },
} as const satisfies Record<string, Sense>

/** 18 bytes of fixed-format sense data, or 20 of descriptor format where INFORMATION is present (8 where not). */
export function encodeSense(sense: Sense, descriptorFormat = false): Buffer {
  return descriptorFormat ? encodeDescriptorSense(sense) : encodeFixedSense(sense)
}

function encodeFixedSense(sense: Sense): Buffer {
  const data = Buffer.alloc(18)
  const fits = sense.information !== undefined && sense.information <= 0xffffffff
  data.writeUInt8(fits ? 0xf0 : 0x70, 0)
  data.writeUInt8(sense.key, 2)
  if (fits) data.writeUInt32BE(sense.information ?? 0, 3)
  data.writeUInt8(data.byteLength - 8, 7)
  data.writeUInt8(sense.asc, 12)
  data.writeUInt8(sense.ascq, 13)
  return data
}

function encodeDescriptorSense(sense: Sense): Buffer {
  const data = Buffer.alloc(sense.information === undefined ? 8 : 20)
  data.writeUInt8(0x72, 0)
  data.writeUInt8(sense.key, 1)
  data.writeUInt8(sense.asc, 2)
  data.writeUInt8(sense.ascq, 3)
  data.writeUInt8(data.byteLength - 8, 7)
  if (sense.information !== undefined) {
    data.writeUInt8(0x00, 8)
    data.writeUInt8(0x0a, 9)
    data.writeUInt8(0x80, 10)
    data.writeBigUInt64BE(BigInt(sense.information), 12)
  }
  return data
}

/** Undefined when the bytes are not sense data. */
export function decodeSense(data: Buffer): Sense | undefined {
  if (data.byteLength < 4) return undefined
  const code = data.readUInt8(0) & 0x7f
  if (code === 0x70 || code === 0x71) {
    const sense = {
      key: data.readUInt8(2) & 0x0f,
      asc: data.byteLength > 12 ? data.readUInt8(12) : 0,
      ascq: data.byteLength > 13 ? data.readUInt8(13) : 0,
    }
    const valid = (data.readUInt8(0) & 0x80) !== 0 && data.byteLength >= 7
    return valid ? { ...sense, information: data.readUInt32BE(3) } : sense
  }
  if (code === 0x72 || code === 0x73) {
    const sense = { key: data.readUInt8(1) & 0x0f, asc: data.readUInt8(2), ascq: data.readUInt8(3) }
    for (let at = 8; at + 2 <= data.byteLength; at += 2 + data.readUInt8(at + 1)) {
      if (data.readUInt8(at) === 0 && at + 12 <= data.byteLength) {
        return { ...sense, information: Number(data.readBigUInt64BE(at + 4)) }
      }
    }
    return sense
  }
  return undefined
}

/** The error an initiator throws for a status and the sense data that came with it. */
export function scsiError(operation: string, status: number, senseData: Buffer): ScsiError {
  const sense = status === ScsiStatus.checkCondition ? decodeSense(senseData) : undefined
  if (!sense) return new ScsiError(`${operation}: ${statusName(status)}`, { status })
  const hex = [sense.key, sense.asc, sense.ascq].map((n) => n.toString(16).padStart(2, '0')).join('/')
  return new ScsiError(`${operation}: ${describeSense(sense)} (${hex})`, {
    status,
    senseKey: sense.key,
    asc: sense.asc,
    ascq: sense.ascq,
    information: sense.information,
  })
}

/** `addressOutOfRange` → "address out of range"; the sense key's name for conditions not listed here. */
export function describeSense(sense: Sense): string {
  for (const [name, known] of Object.entries(Conditions)) {
    if (known.key === sense.key && known.asc === sense.asc && known.ascq === sense.ascq) return words(name)
  }
  for (const [name, key] of Object.entries(SenseKey)) if (key === sense.key) return words(name)
  return 'unknown sense key'
}

function words(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
}
