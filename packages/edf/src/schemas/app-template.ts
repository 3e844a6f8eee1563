import { type Static, Type } from 'typebox'
import { Auth, AuthInput } from './auth.ts'
import { Children, Name, Reference, ReferenceInput, ResolvedReference } from './common.ts'
import { PerformancePolicy, PerformancePolicyInput } from './performance-policy.ts'
import { CreateSnapshotPolicy, SnapshotPolicy } from './snapshot-policy.ts'
import { PlacementMode, VolumeSize } from './volume.ts'

/** One volume of a template. */
export const VolumeTemplate = Type.Object({
  path: Type.String(),
  name: Type.String(),
  /** GiB. */
  size: Type.Number(),
  replica_count: Type.Integer(),
  placement_mode: Type.String(),
  placement_policy: Type.Optional(ResolvedReference),
  performance_policy: Type.Optional(PerformancePolicy),
  snapshot_policies: Type.Array(SnapshotPolicy),
})
export type VolumeTemplate = Static<typeof VolumeTemplate>

/** One storage instance of a template. */
export const StorageTemplate = Type.Object({
  path: Type.String(),
  name: Type.String(),
  auth: Type.Optional(Auth),
  /** v2.1: the bare path. */
  ip_pool: Type.Optional(Type.Union([Type.String(), ResolvedReference])),
  service_configuration: Type.Optional(Type.String()),
  volume_templates: Type.Array(VolumeTemplate),
})
export type StorageTemplate = Static<typeof StorageTemplate>

/** What app instances can be made from; changes do not reach those that exist. */
export const AppTemplate = Type.Object({
  path: Type.String(),
  tenant: Type.Optional(Type.String()),
  name: Type.String(),
  descr: Type.Optional(Type.String()),
  /** Instances bound to this template. */
  app_instances: Type.Array(Reference),
  snapshot_policies: Type.Array(SnapshotPolicy),
  storage_templates: Type.Array(StorageTemplate),
})
export type AppTemplate = Static<typeof AppTemplate>

const volumeAttributes = {
  replica_count: Type.Optional(Type.Integer({ minimum: 1, maximum: 5 })),
  placement_mode: Type.Optional(PlacementMode),
  placement_policy: Type.Optional(ReferenceInput),
  performance_policy: Type.Optional(PerformancePolicyInput),
  snapshot_policies: Type.Optional(Children(CreateSnapshotPolicy)),
}

/** `size` is GiB. */
export const CreateVolumeTemplate = Type.Object({ ...volumeAttributes, name: Name, size: VolumeSize })
export type CreateVolumeTemplate = Static<typeof CreateVolumeTemplate>

/** `size` is GiB. */
export const UpdateVolumeTemplate = Type.Object({ ...volumeAttributes, size: Type.Optional(VolumeSize) })
export type UpdateVolumeTemplate = Static<typeof UpdateVolumeTemplate>

const storageAttributes = {
  auth: Type.Optional(AuthInput),
  ip_pool: Type.Optional(ReferenceInput),
  volume_templates: Type.Optional(Children(CreateVolumeTemplate)),
}

/** A storage instance of a template, with its volumes. */
export const CreateStorageTemplate = Type.Object({
  ...storageAttributes,
  name: Name,
  service_configuration: Type.Optional(Type.Enum(['iscsi', 'object'])),
})
export type CreateStorageTemplate = Static<typeof CreateStorageTemplate>

/** What is left out stays. */
export const UpdateStorageTemplate = Type.Object(storageAttributes)
export type UpdateStorageTemplate = Static<typeof UpdateStorageTemplate>

/** `POST /app_templates`; `copy_from` is another template. */
export const CreateAppTemplate = Type.Object({
  name: Name,
  descr: Type.Optional(Type.String()),
  storage_templates: Type.Optional(Children(CreateStorageTemplate)),
  snapshot_policies: Type.Optional(Children(CreateSnapshotPolicy)),
  copy_from: Type.Optional(ReferenceInput),
})
export type CreateAppTemplate = Static<typeof CreateAppTemplate>

/** What is left out stays. */
export const UpdateAppTemplate = Type.Object({
  descr: Type.Optional(Type.String()),
  storage_templates: Type.Optional(Children(CreateStorageTemplate)),
  snapshot_policies: Type.Optional(Children(CreateSnapshotPolicy)),
})
export type UpdateAppTemplate = Static<typeof UpdateAppTemplate>
