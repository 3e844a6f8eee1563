import { type Static, Type } from 'typebox'
import {
  AdminState,
  Children,
  DeploymentState,
  Health,
  NameOrUuid,
  ReferenceInput,
  ResolvedReference,
  Uuid,
} from './common.ts'
import { Snapshot } from './snapshot.ts'
import { CreateSnapshotPolicy, SnapshotPolicy } from './snapshot-policy.ts'
import {
  AccessControlMode,
  CreateStorageInstance,
  StorageInstance,
  StorageInstanceOverride,
} from './storage-instance.ts'

/** Who makes it; `openstack` gives the first volume the uuid of the request. */
export const CreateMode = Type.Enum([
  'normal',
  'openstack',
  'internal',
  'docker',
  'cloudstack',
  'kubernetes',
  'mesos',
  'vmware_vro',
  'vmware_vcenter',
  'docker_swarm',
])
export type CreateMode = Static<typeof CreateMode>

/** The unit of provisioning: owns storage instances, which own volumes. */
export const AppInstance = Type.Object({
  path: Type.String(),
  tenant: Type.Optional(Type.String()),
  id: Type.String(),
  name: Type.String(),
  descr: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  admin_state: AdminState,
  create_mode: Type.Optional(Type.String()),
  uuid: Type.Optional(Type.String()),
  access_control_mode: Type.Optional(Type.String()),
  storage_instances: Type.Array(StorageInstance),
  app_template: Type.Optional(ResolvedReference),
  snapshots: Type.Optional(Type.Array(Snapshot)),
  snapshot_policies: Type.Optional(Type.Array(SnapshotPolicy)),
  restore_point: Type.Optional(Type.String()),
  health: Type.Optional(Health),
  causes: Type.Optional(Type.Array(Type.String())),
  op_state: Type.Optional(Type.String()),
  deployment_state: Type.Optional(DeploymentState),
  repair_priority: Type.Optional(Type.String()),
  operation_path: Type.Optional(Type.String()),
  restore_progress: Type.Optional(Type.String()),
  remote_restore_percentage: Type.Optional(Type.Integer()),
  remote_restore_progress: Type.Optional(Type.String()),
})
export type AppInstance = Static<typeof AppInstance>

/** Mirrors the app instance; children are keyed by name, leaves override the template's. */
export const TemplateOverride = Type.Object({
  storage_instances: Type.Optional(Type.Record(Type.String(), StorageInstanceOverride)),
})
export type TemplateOverride = Static<typeof TemplateOverride>

/**
 * `POST /app_instances`, with all that is nested in it: made whole or not at all. From its parts, from `app_template`,
 * or as a clone (`clone_volume_src`, `clone_snapshot_src`, `clone_src`).
 */
export const CreateAppInstance = Type.Object({
  name: NameOrUuid,
  descr: Type.Optional(Type.String()),
  create_mode: Type.Optional(CreateMode),
  /** With `create_mode` openstack the first volume gets this uuid. */
  uuid: Type.Optional(Uuid),
  admin_state: Type.Optional(AdminState),
  access_control_mode: Type.Optional(AccessControlMode),
  storage_instances: Type.Optional(Children(CreateStorageInstance)),
  snapshot_policies: Type.Optional(Children(CreateSnapshotPolicy)),
  app_template: Type.Optional(ReferenceInput),
  template_override: Type.Optional(TemplateOverride),
  clone_src: Type.Optional(ReferenceInput),
  clone_volume_src: Type.Optional(ReferenceInput),
  clone_snapshot_src: Type.Optional(ReferenceInput),
  repair_priority: Type.Optional(Type.String()),
  force: Type.Optional(Type.Boolean()),
})
export type CreateAppInstance = Static<typeof CreateAppInstance>

/** `restore_point` is the `utc_ts` or uuid of a snapshot of the app instance, which has to be offline. */
export const UpdateAppInstance = Type.Object({
  name: Type.Optional(NameOrUuid),
  descr: Type.Optional(Type.String()),
  admin_state: Type.Optional(AdminState),
  access_control_mode: Type.Optional(AccessControlMode),
  restore_point: Type.Optional(Type.String()),
  repair_priority: Type.Optional(Type.String()),
  /** Replaces those there are; one that keeps its name keeps its snapshots. */
  snapshot_policies: Type.Optional(Children(CreateSnapshotPolicy)),
  force: Type.Optional(Type.Boolean()),
})
export type UpdateAppInstance = Static<typeof UpdateAppInstance>
