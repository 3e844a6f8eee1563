import { type Static, Type } from 'typebox'
import { AclPolicy, AclPolicyInput } from './acl-policy.ts'
import { Auth, AuthInput } from './auth.ts'
import {
  AdminState,
  Children,
  DeploymentState,
  Health,
  Name,
  Reference,
  ReferenceInput,
  ResolvedReference,
} from './common.ts'
import { CreateVolume, Volume, VolumeOverride } from './volume.ts'

/** `deny_all`: only who is on the access list; `allow_all`: every initiator. */
export const AccessControlMode = Type.Enum(['allow_all', 'deny_all'])
export type AccessControlMode = Static<typeof AccessControlMode>

/** Where the target is reached: at least two IPv4 addresses (port 3260 unless configured) and its name. */
export const Access = Type.Object({
  path: Type.Optional(Type.String()),
  ips: Type.Array(Type.String()),
  iqn: Type.Optional(Type.String()),
  /** `host:port` of each portal. Only our node tells; an array's ports are 3260. */
  portals: Type.Optional(Type.Array(Type.String())),
})
export type Access = Static<typeof Access>

/** An iSCSI target; its volumes are the logical units, in order of creation. */
export const StorageInstance = Type.Object({
  path: Type.String(),
  name: Type.String(),
  uuid: Type.Optional(Type.String()),
  admin_state: AdminState,
  /** `available` when exported, else `unavailable` or `failed`. */
  op_state: Type.String(),
  health: Type.Optional(Health),
  causes: Type.Optional(Type.Array(Type.String())),
  deployment_state: Type.Optional(DeploymentState),
  service_configuration: Type.Optional(Type.String()),
  access_control_mode: Type.Optional(AccessControlMode),
  acl_policy: Type.Optional(AclPolicy),
  auth: Type.Optional(Auth),
  ip_pool: Type.Optional(ResolvedReference),
  access: Type.Optional(Access),
  /** IQNs with a live session. */
  active_initiators: Type.Optional(Type.Array(Type.String())),
  active_storage_nodes: Type.Optional(Type.Array(Reference)),
  volumes: Type.Array(Volume),
})
export type StorageInstance = Static<typeof StorageInstance>

const attributes = {
  admin_state: Type.Optional(AdminState),
  access_control_mode: Type.Optional(AccessControlMode),
  acl_policy: Type.Optional(AclPolicyInput),
  auth: Type.Optional(AuthInput),
  ip_pool: Type.Optional(ReferenceInput),
  force: Type.Optional(Type.Boolean()),
}

/** With its volumes. */
export const CreateStorageInstance = Type.Object({
  ...attributes,
  name: Name,
  service_configuration: Type.Optional(Type.Enum(['iscsi', 'object'])),
  volumes: Type.Optional(Children(CreateVolume)),
})
export type CreateStorageInstance = Static<typeof CreateStorageInstance>

/** What is left out stays. */
export const UpdateStorageInstance = Type.Object(attributes)
export type UpdateStorageInstance = Static<typeof UpdateStorageInstance>

/** Leaves of `template_override` for one storage instance; volumes are keyed by name. */
export const StorageInstanceOverride = Type.Object({
  access_control_mode: Type.Optional(AccessControlMode),
  auth: Type.Optional(AuthInput),
  ip_pool: Type.Optional(ReferenceInput),
  volumes: Type.Optional(Type.Record(Type.String(), VolumeOverride)),
})
export type StorageInstanceOverride = Static<typeof StorageInstanceOverride>
