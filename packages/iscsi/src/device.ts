/** Block devices, and work on any of them: what needs neither an initiator nor a target. */
export {
  type BlockDevice,
  type Cancel,
  checkRange,
  type Done,
  type Extent,
  MemoryDevice,
  readBytes,
} from './block-device.ts'
export { type Copied, type CopyOptions, copyDevice } from './copy.ts'
export {
  type ReadStreamOptions,
  readStream,
  type StreamWritten,
  type WriteStreamOptions,
  writeStream,
} from './copy-stream.ts'
export { IscsiError, type IscsiErrorCode, ScsiError } from './errors.ts'
export { FileDevice } from './file-device.ts'
export { InlineGuard } from './inline-guard.ts'
export { isZero, writeSparse, type ZeroOptions, zeroRange } from './zeroes.ts'
