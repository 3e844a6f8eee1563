import { type Static, Type } from 'typebox'
import { Health, Reference } from './common.ts'

/** A machine of the cluster. Capacities are bytes. */
export const StorageNode = Type.Object({
  path: Type.String(),
  uuid: Type.String(),
  name: Type.String(),
  admin_state: Type.String(),
  op_state: Type.String(),
  op_status: Type.Optional(Type.String()),
  health: Type.Optional(Health),
  hw_health: Type.Optional(Health),
  sw_health: Type.Optional(Health),
  hw_state: Type.Optional(Type.String()),
  sw_state: Type.Optional(Type.String()),
  causes: Type.Optional(Type.Array(Type.String())),
  type: Type.Optional(Type.String()),
  model: Type.Optional(Type.String()),
  vendor: Type.Optional(Type.String()),
  serial_no: Type.Optional(Type.String()),
  bios_version: Type.Optional(Type.String()),
  os_version: Type.Optional(Type.String()),
  sw_version: Type.Optional(Type.String()),
  build_version: Type.Optional(Type.String()),
  mgmt_ip_1: Type.Optional(Type.String()),
  mgmt_ip_2: Type.Optional(Type.String()),
  internal_ip_1: Type.Optional(Type.String()),
  internal_ip_2: Type.Optional(Type.String()),
  total_capacity: Type.Optional(Type.Integer()),
  total_raw_capacity: Type.Optional(Type.Integer()),
  available_capacity: Type.Optional(Type.Integer()),
  compression_enabled: Type.Optional(Type.Boolean()),
  compression_ratio: Type.Optional(Type.String()),
  disconnected: Type.Optional(Type.Boolean()),
  last_reboot_timestamp: Type.Optional(Type.String()),
  op_progress: Type.Optional(Type.Unknown()),
  subsystem_states: Type.Optional(Type.Unknown()),
  subsystem_health: Type.Optional(Type.Array(Type.Unknown())),
  hdds: Type.Optional(Type.Array(Type.Unknown())),
  flash_devices: Type.Optional(Type.Array(Type.Unknown())),
  nvm_flash_devices: Type.Optional(Type.Array(Type.Unknown())),
  boot_drives: Type.Optional(Type.Array(Type.Unknown())),
  nics: Type.Optional(Type.Array(Type.Unknown())),
  psus: Type.Optional(Type.Array(Type.Unknown())),
  volumes: Type.Optional(Type.Array(Reference)),
  storage_instances: Type.Optional(Type.Array(Reference)),
  upgrade: Type.Optional(Type.Unknown()),
  failure_domains: Type.Optional(Type.Array(Reference)),
  media_policy: Type.Optional(Type.String()),
})
export type StorageNode = Static<typeof StorageNode>

/** `decommission` takes the machine out of the cluster for good; the embedded node refuses all but `online`. */
export const UpdateStorageNode = Type.Object({
  admin_state: Type.Optional(Type.Enum(['online', 'offline', 'decommission'])),
  media_policy: Type.Optional(Type.String()),
})
export type UpdateStorageNode = Static<typeof UpdateStorageNode>

/** Nodes whose media serve together. v2.2. */
export const StoragePool = Type.Object({
  path: Type.String(),
  name: Type.String(),
  members: Type.Array(Reference),
})
export type StoragePool = Static<typeof StoragePool>

/** Nodes that may fail together. v2.2. */
export const FailureDomain = Type.Object({
  path: Type.String(),
  name: Type.String(),
  storage_nodes: Type.Array(Reference),
})
export type FailureDomain = Static<typeof FailureDomain>
