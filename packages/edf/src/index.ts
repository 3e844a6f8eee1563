export * from './client/index.ts'
export * from './schemas/access-network-ip-pool.ts'
export * from './schemas/acl-policy.ts'
export * from './schemas/app-instance.ts'
export * from './schemas/app-template.ts'
export * from './schemas/auth.ts'
export * from './schemas/common.ts'
export * from './schemas/error.ts'
export * from './schemas/event.ts'
export * from './schemas/initiator.ts'
export * from './schemas/initiator-group.ts'
export * from './schemas/login.ts'
export * from './schemas/metadata.ts'
export * from './schemas/metrics.ts'
export * from './schemas/performance-policy.ts'
export * from './schemas/placement-policy.ts'
export * from './schemas/remote-provider.ts'
export * from './schemas/snapshot.ts'
export * from './schemas/snapshot-policy.ts'
export * from './schemas/storage-check.ts'
export * from './schemas/storage-instance.ts'
export * from './schemas/storage-node.ts'
export * from './schemas/system.ts'
export * from './schemas/tenant.ts'
export * from './schemas/user.ts'
export * from './schemas/volume.ts'
export {
  type ApiVersion,
  apiVersions,
  compareSwVersions,
  productGates,
  swVersionPattern,
  type VersionTraits,
  versions,
} from './versions.ts'
