/** The names of a unit and its ports, VPD page 83: SPC-4 section 7.8.5. What makes paths to the same unit recognisable. */
import type { UnitHost } from './command-table.ts'
import type { UnitDesignator } from './copy-parameters.ts'
import type { LogicalUnit } from './logical-unit.ts'

const CodeSet = { binary: 1, ascii: 2, utf8: 3 } as const
const Type = { t10Vendor: 1, naa: 3, relativeTargetPort: 4, targetPortGroup: 5, scsiName: 8 } as const

/** Printable ASCII, padded with blanks. */
export function text(value: string, length: number): string {
  return value
    .replace(/[^\x20-\x7e]/g, '?')
    .slice(0, length)
    .padEnd(length, ' ')
}

/** The body of page 83. */
export function deviceIdentification(unit: LogicalUnit, host: UnitHost): Buffer {
  const tag = host.portalGroupTag
  const scsiName = Buffer.from(`${host.targetName},t,0x${tag.toString(16).padStart(4, '0')}\0`, 'utf8')
  const paddedName = Buffer.alloc((scsiName.byteLength + 3) & ~3)
  scsiName.copy(paddedName)
  const port = Buffer.alloc(4)
  port.writeUInt16BE(tag, 2)
  return Buffer.concat([
    designator(CodeSet.binary, Type.naa, 0, naa(unit)),
    designator(CodeSet.ascii, Type.t10Vendor, 0, vendorIdentification(unit)),
    designator(CodeSet.binary, Type.relativeTargetPort, 1, port),
    designator(CodeSet.binary, Type.targetPortGroup, 1, port),
    designator(CodeSet.utf8, Type.scsiName, 1, paddedName),
  ])
}

/** Whether a unit carries this name: its NAA identifier or its T10 vendor identification, whole. */
export function isNamed(unit: LogicalUnit, { codeSet, type, value }: UnitDesignator): boolean {
  if (codeSet === CodeSet.binary && type === Type.naa) return value.equals(naa(unit))
  if (codeSet === CodeSet.ascii && type === Type.t10Vendor) return value.equals(vendorIdentification(unit))
  return false
}

/** @param association 0: of the unit, 1: of the target port (then with the protocol, iSCSI) */
function designator(codeSet: number, type: number, association: number, value: Buffer): Buffer {
  const protocol = association === 1 ? 0x50 : 0
  const flags = (association === 1 ? 0x80 : 0) | (association << 4) | type
  return Buffer.concat([Buffer.from([protocol | codeSet, flags, 0, value.byteLength]), value])
}

function vendorIdentification(unit: LogicalUnit): Buffer {
  return Buffer.from(text(unit.config.vendor ?? 'DATERA', 8) + unit.config.serial.slice(0, 64), 'latin1')
}

/** 8 or 16 bytes; from the serial number when none is configured (locally assigned, NAA 3). */
function naa(unit: LogicalUnit): Buffer {
  const configured = unit.config.naa
  if (configured !== undefined) return Buffer.from(configured, 'hex')
  // FNV-1a over 60 bits: the same serial number always gives the same identifier.
  let hash = 0xcbf29ce484222325n
  for (const byte of Buffer.from(unit.config.serial, 'utf8')) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n)
  }
  const value = Buffer.alloc(8)
  value.writeBigUInt64BE((3n << 60n) | (hash & 0x0fffffffffffffffn))
  return value
}
