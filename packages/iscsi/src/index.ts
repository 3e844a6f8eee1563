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
export { type Portal, parsePortal } from './initiator/connection.ts'
export { type DiscoveredTarget, type DiscoveryOptions, discoverTargets } from './initiator/discover.ts'
export { IscsiDisk, type IscsiDiskOptions, openIscsiDisk } from './initiator/disk.ts'
export type { UnitIdentity } from './initiator/logical-unit.ts'
export { InlineGuard } from './inline-guard.ts'
export type { Chap, ChapCredentials } from './login/chap.ts'
export type { SessionPreferences } from './login/negotiate.ts'
export type { AccessStateName } from './scsi/access-state.ts'
export type { LogicalUnitConfig } from './scsi/logical-unit.ts'
export type { ReservationStore } from './scsi/persistent-reservations.ts'
export type { RateLimits } from './scsi/rate-limiter.ts'
export type { ConnectionTimeouts } from './target/connection.ts'
export { ReservationFile } from './target/reservation-file.ts'
export {
  IscsiServer,
  type IscsiServerOptions,
  type ListenOptions,
  type TargetEvent,
} from './target/server.ts'
export type {
  InitiatorAccess,
  IscsiTarget,
  SessionInfo,
  TargetAccess,
  TargetConfig,
} from './target/target.ts'
export { isZero, writeSparse, type ZeroOptions, zeroRange } from './zeroes.ts'
