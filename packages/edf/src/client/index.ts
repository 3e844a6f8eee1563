export {
  bringOnline,
  findAppInstances,
  isInUse,
  type OnlyVolume,
  onlyVolume,
  removeAppInstance,
  takeOfflineIfUnused,
  untilExported,
  untilSnapshotReady,
} from './app-instances.ts'
export { ArrayAccess, type ArrayAccessOptions, type ConnectedArray } from './array-access.ts'
export { AttachedDisk, type AttachedDiskOptions, AttachedDisks } from './attached-disks.ts'
export { absentIfNotFound, Collection, type ListOptions } from './collection.ts'
export { type ClientVersion, EdfClient, type EdfClientOptions } from './edf-client.ts'
export {
  EdfAuth,
  EdfConflict,
  EdfError,
  EdfFailure,
  EdfForbidden,
  EdfInvalid,
  EdfNotFound,
  EdfProtocol,
  EdfTls,
  EdfUnavailable,
  EdfVersion,
} from './errors.ts'
export { type EdfCall, type Exchange, exchangeChannel } from './exchange.ts'
export { Exclusive } from './exclusive.ts'
export { containing, escapeExpression } from './filter.ts'
export { HostAccess } from './host-access.ts'
export { Initiators } from './initiators.ts'
export { type Portal, portalsOf, portalText } from './portals.ts'
export { productAtLeast } from './product.ts'
export type { Credentials } from './requester.ts'
export type { RetryPolicy } from './retry.ts'
export { EdfScope, type Located } from './scope.ts'
export { parseTenant, type TenantRule, Tenants, tenantOf } from './tenancy.ts'
export type { EdfTlsOptions } from './transport.ts'
