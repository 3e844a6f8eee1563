/** MODE SENSE and MODE SELECT, 6 and 10: SPC-4 sections 6.11 to 6.14, pages 08, 0A, 1C. */
import { OperationCode, writeUInt64 } from '../command-block.ts'
import {
  answer,
  type CommandContext,
  type CommandDefinition,
  GOOD,
  type Outcome,
  type Plan,
} from '../command-table.ts'
import { checkCondition, type LogicalUnit } from '../logical-unit.ts'
import type { Nexus } from '../nexus.ts'
import { Conditions } from '../sense.ts'

const PageControl = { current: 0, changeable: 1, default: 2, saved: 3 } as const
const DESCRIPTOR_SENSE = 0x04
const SOFTWARE_WRITE_PROTECT = 0x08

/** Mode pages, ascending. `control` is one of PageControl except saved. */
const PAGES: Readonly<Record<number, (unit: LogicalUnit, control: number) => Buffer>> = {
  8: (_unit, control) => {
    const page = Buffer.alloc(20)
    page.writeUInt8(0x08, 0)
    page.writeUInt8(18, 1)
    if (control !== PageControl.changeable) page.writeUInt8(0x04, 2) // write cache enabled
    return page
  },
  10: (unit, control) => {
    const page = Buffer.alloc(12)
    page.writeUInt8(0x0a, 0)
    page.writeUInt8(10, 1)
    const changeable = control === PageControl.changeable
    const current = control === PageControl.current
    if (changeable || (current && unit.descriptorSense)) page.writeUInt8(DESCRIPTOR_SENSE, 2)
    if (!changeable) page.writeUInt8(0x10, 3) // commands may be reordered
    if (changeable || (current && unit.softwareWriteProtect)) page.writeUInt8(SOFTWARE_WRITE_PROTECT, 4)
    return page
  },
  28: () => {
    const page = Buffer.alloc(12)
    page.writeUInt8(0x1c, 0)
    page.writeUInt8(10, 1)
    return page
  },
}

function modeSense({ unit, cdb }: CommandContext): Plan {
  const isLong = cdb.readUInt8(0) === OperationCode.modeSense10
  const control = cdb.readUInt8(2) >> 6
  const code = cdb.readUInt8(2) & 0x3f
  const subpage = cdb.readUInt8(3)
  if (control === PageControl.saved) throw checkCondition(Conditions.savingParametersNotSupported)
  if (subpage !== 0 && subpage !== 0xff) throw checkCondition(Conditions.invalidFieldInCommand)
  const make = PAGES[code]
  if (!make && code !== 0x3f) throw checkCondition(Conditions.invalidFieldInCommand)
  const pages = make ? [make(unit, control)] : Object.values(PAGES).map((each) => each(unit, control))
  const noDescriptor = (cdb.readUInt8(1) & 0x08) !== 0
  const longDescriptor = isLong && (cdb.readUInt8(1) & 0x10) !== 0
  const descriptor = noDescriptor ? Buffer.alloc(0) : blockDescriptor(unit, longDescriptor)
  // write protected; DPO and FUA are understood
  const deviceSpecific = (unit.writeProtected ? 0x80 : 0) | 0x10
  const body = Buffer.concat([descriptor, ...pages])
  if (!isLong) {
    const header = Buffer.from([3 + body.byteLength, 0, deviceSpecific, descriptor.byteLength])
    return answer(Buffer.concat([header, body]), cdb.readUInt8(4))
  }
  const header = Buffer.alloc(8)
  header.writeUInt16BE(6 + body.byteLength, 0)
  header.writeUInt8(deviceSpecific, 3)
  header.writeUInt8(longDescriptor && !noDescriptor ? 1 : 0, 4)
  header.writeUInt16BE(descriptor.byteLength, 6)
  return answer(Buffer.concat([header, body]), cdb.readUInt16BE(7))
}

function blockDescriptor(unit: LogicalUnit, long: boolean): Buffer {
  if (long) {
    const descriptor = Buffer.alloc(16)
    writeUInt64(unit.blocks, descriptor, 0)
    descriptor.writeUInt32BE(unit.blockSize, 12)
    return descriptor
  }
  const descriptor = Buffer.alloc(8)
  descriptor.writeUInt32BE(Math.min(unit.blocks, 0xffffffff), 0)
  descriptor.writeUIntBE(unit.blockSize, 5, 3)
  return descriptor
}

function modeSelect({ unit, nexus, cdb }: CommandContext): Plan {
  const isLong = cdb.readUInt8(0) === OperationCode.modeSelect10
  const flags = cdb.readUInt8(1)
  // PF has to be set; SP cannot be.
  if ((flags & 0x11) !== 0x10) throw checkCondition(Conditions.invalidFieldInCommand)
  const length = isLong ? cdb.readUInt16BE(7) : cdb.readUInt8(4)
  if (length === 0) return { kind: 'done' }
  return { kind: 'collect', length, run: (list) => select(unit, nexus, list, isLong) }
}

function select(unit: LogicalUnit, nexus: Nexus, list: Buffer, isLong: boolean): Outcome {
  const headerBytes = isLong ? 8 : 4
  if (list.byteLength < headerBytes) throw checkCondition(Conditions.parameterListLengthError)
  const descriptorBytes = isLong ? list.readUInt16BE(6) : list.readUInt8(3)
  let at = headerBytes + descriptorBytes
  if (at > list.byteLength) throw checkCondition(Conditions.parameterListLengthError)
  let control: Buffer | undefined
  while (at < list.byteLength) {
    if (at + 2 > list.byteLength) throw checkCondition(Conditions.parameterListLengthError)
    const code = list.readUInt8(at) & 0x7f
    const make = PAGES[code]
    if (!make) throw checkCondition(Conditions.invalidFieldInParameterList)
    const current = make(unit, PageControl.current)
    const changeable = make(unit, PageControl.changeable)
    if (list.readUInt8(at + 1) !== current.byteLength - 2) {
      throw checkCondition(Conditions.invalidFieldInParameterList)
    }
    const page = list.subarray(at, at + current.byteLength)
    if (page.byteLength < current.byteLength) throw checkCondition(Conditions.parameterListLengthError)
    for (let byte = 2; byte < current.byteLength; byte++) {
      const fixed = ~changeable.readUInt8(byte)
      if ((page.readUInt8(byte) & fixed) !== (current.readUInt8(byte) & fixed)) {
        throw checkCondition(Conditions.invalidFieldInParameterList)
      }
    }
    if (code === 0x0a) control = page
    at += current.byteLength
  }
  if (control) changeControl(unit, nexus, control)
  return GOOD
}

function changeControl(unit: LogicalUnit, nexus: Nexus, page: Buffer): void {
  const descriptorSense = (page.readUInt8(2) & DESCRIPTOR_SENSE) !== 0
  const writeProtect = (page.readUInt8(4) & SOFTWARE_WRITE_PROTECT) !== 0
  if (descriptorSense === unit.descriptorSense && writeProtect === unit.softwareWriteProtect) return
  unit.descriptorSense = descriptorSense
  unit.softwareWriteProtect = writeProtect
  unit.raiseAttention(Conditions.modeParametersChanged, { except: nexus.id })
}

export const modeCommands: readonly CommandDefinition[] = [
  {
    name: 'MODE SELECT(6)',
    operationCode: OperationCode.modeSelect6,
    usage: '15110000ff04',
    access: 'write',
    plan: modeSelect,
  },
  {
    name: 'MODE SENSE(6)',
    operationCode: OperationCode.modeSense6,
    usage: '1a08ffffff04',
    access: 'write',
    plan: modeSense,
  },
  {
    name: 'MODE SELECT(10)',
    operationCode: OperationCode.modeSelect10,
    usage: '55110000000000ffff04',
    access: 'write',
    plan: modeSelect,
  },
  {
    name: 'MODE SENSE(10)',
    operationCode: OperationCode.modeSense10,
    usage: '5a18ffff000000ffff04',
    access: 'write',
    plan: modeSense,
  },
]
