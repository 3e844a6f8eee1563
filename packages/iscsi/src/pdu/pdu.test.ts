import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decodeAsyncMessage, encodeAsyncMessage } from './async-message.ts'
import { decodeDataIn, encodeDataIn } from './data-in.ts'
import { decodeDataOut, encodeDataOut } from './data-out.ts'
import { dataSegmentLength, HEADER_BYTES, NO_TAG, opcodeOf } from './header.ts'
import { decodeLoginRequest, encodeLoginRequest } from './login-request.ts'
import { decodeLoginResponse, encodeLoginResponse } from './login-response.ts'
import { decodeLogoutRequest, encodeLogoutRequest } from './logout-request.ts'
import { decodeLogoutResponse, encodeLogoutResponse } from './logout-response.ts'
import { readLun, writeLun } from './lun.ts'
import { decodeNopIn, encodeNopIn } from './nop-in.ts'
import { decodeNopOut, encodeNopOut } from './nop-out.ts'
import { decodeReadyToTransfer, encodeReadyToTransfer } from './ready-to-transfer.ts'
import { decodeReject, encodeReject } from './reject.ts'
import { decodeScsiCommand, encodeScsiCommand } from './scsi-command.ts'
import {
  decodeScsiResponse,
  decodeSenseSegment,
  encodeScsiResponse,
  encodeSenseSegment,
} from './scsi-response.ts'
import { decodeTaskManagementRequest, encodeTaskManagementRequest } from './task-management-request.ts'
import { decodeTaskManagementResponse, encodeTaskManagementResponse } from './task-management-response.ts'
import { decodeTextRequest, encodeTextRequest } from './text-request.ts'
import { decodeTextResponse, encodeTextResponse } from './text-response.ts'

const u8 = fc.integer({ min: 0, max: 0xff })
const u16 = fc.integer({ min: 0, max: 0xffff })
const u32 = fc.integer({ min: 0, max: NO_TAG })
const flag = fc.boolean()
const length = fc.integer({ min: 0, max: 0xffffff })
const lun = fc.integer({ min: 0, max: 16383 })
const bytes = (size: number) =>
  fc.uint8Array({ minLength: size, maxLength: size }).map((array) => Buffer.from(array))
const transit = fc
  .record({ transit: flag, nextStage: fc.constantFrom(0, 1, 3) })
  .map((stage) => (stage.transit ? stage : { ...stage, nextStage: 0 }))
const numbers = { statSn: u32, expCmdSn: u32, maxCmdSn: u32 }

function roundTrip<T>(
  name: string,
  opcode: number,
  fields: fc.Arbitrary<T>,
  encode: (pdu: T, into: Buffer, at?: number) => void,
  decode: (from: Buffer, at?: number) => T,
): void {
  test(`${name} survives encoding and decoding, wherever in a buffer it stands`, () => {
    fc.assert(
      fc.property(fields, fc.integer({ min: 0, max: 9 }), (pdu, at) => {
        const buffer = Buffer.alloc(HEADER_BYTES + 20, 0xa5)
        encode(pdu, buffer, at)
        assert.equal(opcodeOf(buffer, at), opcode)
        assert.deepEqual(decode(buffer, at), { ...pdu })
        assert.ok(buffer.subarray(0, at).every((byte) => byte === 0xa5))
        assert.ok(buffer.subarray(at + HEADER_BYTES).every((byte) => byte === 0xa5))
      }),
      { numRuns: 50 },
    )
  })
}

roundTrip(
  'a SCSI command',
  0x01,
  fc.record({
    immediate: flag,
    final: flag,
    read: flag,
    write: flag,
    attribute: fc.integer({ min: 0, max: 7 }),
    lun,
    initiatorTaskTag: u32,
    expectedDataTransferLength: u32,
    cmdSn: u32,
    expStatSn: u32,
    commandBlock: bytes(16),
    dataLength: length,
  }),
  encodeScsiCommand,
  decodeScsiCommand,
)
roundTrip(
  'a SCSI response',
  0x21,
  fc.record({
    response: u8,
    status: u8,
    initiatorTaskTag: u32,
    ...numbers,
    expDataSn: u32,
    overflow: flag,
    underflow: flag,
    residualCount: u32,
    dataLength: length,
  }),
  encodeScsiResponse,
  decodeScsiResponse,
)
roundTrip(
  'Data-In',
  0x25,
  fc
    .record({
      final: flag,
      hasStatus: flag,
      status: u8,
      initiatorTaskTag: u32,
      targetTransferTag: u32,
      ...numbers,
      dataSn: u32,
      bufferOffset: u32,
      overflow: flag,
      underflow: flag,
      residualCount: u32,
      dataLength: length,
    })
    .map((pdu) => (pdu.hasStatus ? pdu : { ...pdu, status: 0, statSn: 0 })),
  encodeDataIn,
  decodeDataIn,
)
roundTrip(
  'Data-Out',
  0x05,
  fc.record({
    final: flag,
    lun,
    initiatorTaskTag: u32,
    targetTransferTag: u32,
    expStatSn: u32,
    dataSn: u32,
    bufferOffset: u32,
    dataLength: length,
  }),
  encodeDataOut,
  decodeDataOut,
)
roundTrip(
  'a ready-to-transfer',
  0x31,
  fc.record({
    lun,
    initiatorTaskTag: u32,
    targetTransferTag: u32,
    ...numbers,
    r2tSn: u32,
    bufferOffset: u32,
    desiredDataTransferLength: u32,
  }),
  encodeReadyToTransfer,
  decodeReadyToTransfer,
)
roundTrip(
  'a task management request',
  0x02,
  fc.record({
    immediate: flag,
    function: fc.integer({ min: 0, max: 0x7f }),
    lun,
    initiatorTaskTag: u32,
    referencedTaskTag: u32,
    cmdSn: u32,
    expStatSn: u32,
    refCmdSn: u32,
  }),
  encodeTaskManagementRequest,
  decodeTaskManagementRequest,
)
roundTrip(
  'a task management response',
  0x22,
  fc.record({ response: u8, initiatorTaskTag: u32, ...numbers }),
  encodeTaskManagementResponse,
  decodeTaskManagementResponse,
)
roundTrip(
  'a login request',
  0x03,
  fc
    .record({
      stage: transit,
      continued: flag,
      currentStage: fc.constantFrom(0, 1, 3),
      versionMax: u8,
      versionMin: u8,
      isid: bytes(6),
      tsih: u16,
      initiatorTaskTag: u32,
      cid: u16,
      cmdSn: u32,
      expStatSn: u32,
      dataLength: length,
    })
    .map(({ stage, ...rest }) => ({ ...stage, ...rest })),
  encodeLoginRequest,
  decodeLoginRequest,
)
roundTrip(
  'a login response',
  0x23,
  fc
    .record({
      stage: transit,
      continued: flag,
      currentStage: fc.constantFrom(0, 1, 3),
      versionMax: u8,
      versionActive: u8,
      isid: bytes(6),
      tsih: u16,
      initiatorTaskTag: u32,
      ...numbers,
      status: u16,
      dataLength: length,
    })
    .map(({ stage, ...rest }) => ({ ...stage, ...rest })),
  encodeLoginResponse,
  decodeLoginResponse,
)
roundTrip(
  'a text request',
  0x04,
  fc.record({
    immediate: flag,
    final: flag,
    continued: flag,
    lunField: bytes(8),
    initiatorTaskTag: u32,
    targetTransferTag: u32,
    cmdSn: u32,
    expStatSn: u32,
    dataLength: length,
  }),
  encodeTextRequest,
  decodeTextRequest,
)
roundTrip(
  'a text response',
  0x24,
  fc.record({
    final: flag,
    continued: flag,
    lunField: bytes(8),
    initiatorTaskTag: u32,
    targetTransferTag: u32,
    ...numbers,
    dataLength: length,
  }),
  encodeTextResponse,
  decodeTextResponse,
)
roundTrip(
  'a logout request',
  0x06,
  fc.record({
    immediate: flag,
    reason: fc.integer({ min: 0, max: 0x7f }),
    initiatorTaskTag: u32,
    cid: u16,
    cmdSn: u32,
    expStatSn: u32,
  }),
  encodeLogoutRequest,
  decodeLogoutRequest,
)
roundTrip(
  'a logout response',
  0x26,
  fc.record({ response: u8, initiatorTaskTag: u32, ...numbers, timeToWait: u16, timeToRetain: u16 }),
  encodeLogoutResponse,
  decodeLogoutResponse,
)
roundTrip(
  'a NOP-Out',
  0x00,
  fc.record({
    immediate: flag,
    lunField: bytes(8),
    initiatorTaskTag: u32,
    targetTransferTag: u32,
    cmdSn: u32,
    expStatSn: u32,
    dataLength: length,
  }),
  encodeNopOut,
  decodeNopOut,
)
roundTrip(
  'a NOP-In',
  0x20,
  fc.record({
    lunField: bytes(8),
    initiatorTaskTag: u32,
    targetTransferTag: u32,
    ...numbers,
    dataLength: length,
  }),
  encodeNopIn,
  decodeNopIn,
)
roundTrip(
  'an asynchronous message',
  0x32,
  fc.record({ ...numbers, event: u8, parameter1: u16, parameter2: u16, parameter3: u16, dataLength: length }),
  encodeAsyncMessage,
  decodeAsyncMessage,
)
roundTrip(
  'a reject',
  0x3f,
  fc.record({ reason: u8, ...numbers, dataLength: length }),
  encodeReject,
  decodeReject,
)

test('a LUN is peripheral up to 255 and flat above, and other addressing is not guessed at', () => {
  const field = Buffer.alloc(8)
  writeLun(255, field, 0)
  assert.equal(field.toString('hex'), '00ff000000000000')
  writeLun(256, field, 0)
  assert.equal(field.toString('hex'), '4100000000000000')
  assert.equal(readLun(field, 0), 256)
  assert.equal(readLun(Buffer.from('4005000000000000', 'hex'), 0), 5)
  assert.equal(readLun(Buffer.from('c105000000000000', 'hex'), 0), -1)
  assert.equal(readLun(Buffer.from('0001000100000000', 'hex'), 0), -1)
  assert.throws(() => writeLun(16384, field, 0), RangeError)
})

test('the data segment length has 24 bits, and the header length beside it does not leak in', () => {
  const header = Buffer.alloc(48)
  header.writeUInt32BE(0x05abcdef, 4)
  assert.equal(dataSegmentLength(header), 0xabcdef)
})

test('a sense segment says how long the sense data is', () => {
  const sense = Buffer.from([0x70, 0, 5])
  assert.deepEqual(decodeSenseSegment(encodeSenseSegment(sense)), sense)
  assert.equal(decodeSenseSegment(Buffer.from([9])).byteLength, 0)
})
