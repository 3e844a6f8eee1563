import { type Static, Type } from 'typebox'
import {
  Children,
  DeploymentState,
  Health,
  Name,
  Reference,
  ReferenceInput,
  ResolvedReference,
  Uuid,
} from './common.ts'
import { PerformancePolicy, PerformancePolicyInput } from './performance-policy.ts'
import { Snapshot } from './snapshot.ts'
import { CreateSnapshotPolicy, SnapshotPolicy } from './snapshot-policy.ts'

/** Which media, before there were placement policies. */
export const PlacementMode = Type.Enum(['hybrid', 'single_flash', 'all_flash'])
export type PlacementMode = Static<typeof PlacementMode>

/** A logical unit of a storage instance's target. */
export const Volume = Type.Object({
  path: Type.String(),
  name: Type.String(),
  /** Also the SCSI unit serial number. */
  uuid: Type.String(),
  /** GiB. */
  size: Type.Number(),
  /** GiB. */
  capacity_in_use: Type.Optional(Type.Number()),
  replica_count: Type.Integer(),
  placement_mode: Type.Optional(Type.String()),
  placement_policy: Type.Optional(ResolvedReference),
  op_state: Type.String(),
  op_status: Type.Optional(Type.String()),
  availability_state: Type.Optional(Type.String()),
  recovery_state: Type.Optional(Type.String()),
  storage_state: Type.Optional(Type.String()),
  health: Type.Optional(Health),
  causes: Type.Optional(Type.Array(Type.String())),
  deployment_state: Type.Optional(DeploymentState),
  restore_point: Type.Optional(Type.String()),
  /** The four sizes are bytes. */
  effective_size: Type.Optional(Type.Integer()),
  exclusive_size: Type.Optional(Type.Integer()),
  logical_size: Type.Optional(Type.Integer()),
  physical_size: Type.Optional(Type.Integer()),
  performance_policy: Type.Optional(PerformancePolicy),
  snapshot_policies: Type.Optional(Type.Array(SnapshotPolicy)),
  snapshots: Type.Optional(Type.Array(Snapshot)),
  active_storage_nodes: Type.Optional(Type.Array(Reference)),
})
export type Volume = Static<typeof Volume>

/** GiB. A fraction is rounded up to the next whole GiB. */
export const VolumeSize = Type.Number({ exclusiveMinimum: 0, maximum: 262144 })

const attributes = {
  replica_count: Type.Optional(Type.Integer({ minimum: 1, maximum: 5 })),
  placement_mode: Type.Optional(PlacementMode),
  placement_policy: Type.Optional(ReferenceInput),
}

/** `size` is GiB. */
export const CreateVolume = Type.Object({
  ...attributes,
  name: Name,
  size: VolumeSize,
  uuid: Type.Optional(Uuid),
  performance_policy: Type.Optional(PerformancePolicyInput),
  snapshot_policies: Type.Optional(Children(CreateSnapshotPolicy)),
  force: Type.Optional(Type.Boolean()),
})
export type CreateVolume = Static<typeof CreateVolume>

/** `restore_point` is the `utc_ts` or uuid of a snapshot of this volume; the app instance has to be offline. */
export const UpdateVolume = Type.Object({
  ...attributes,
  size: Type.Optional(VolumeSize),
  restore_point: Type.Optional(Type.String()),
})
export type UpdateVolume = Static<typeof UpdateVolume>

/** Leaves of `template_override` for one volume. */
export const VolumeOverride = Type.Object({
  ...attributes,
  size: Type.Optional(VolumeSize),
  performance_policy: Type.Optional(PerformancePolicyInput),
})
export type VolumeOverride = Static<typeof VolumeOverride>
