export {
  type BlockDevice,
  type Cancel,
  checkRange,
  type Done,
  type Extent,
  FileDevice,
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
export { isZero, type ZeroOptions, zeroRange } from './zeroes.ts'
