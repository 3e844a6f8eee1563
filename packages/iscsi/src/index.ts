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
export { IscsiError, type IscsiErrorCode, ScsiError } from './errors.ts'
