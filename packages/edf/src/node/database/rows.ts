/** One interface per table with state in it: the columns as SQLite gives them back. Times and JSON are text. */

export type LifeState = 'creating' | 'ready' | 'deleting'

export interface TenantRow {
  seq: number
  path: string
  name: string
  parent_path: string
  attributes: string
}

export interface UserRow {
  seq: number
  user_id: string
  full_name: string
  password_hash: string
  email: string
  enabled: number
  roles: string
  tenants: string
}

export interface AppInstanceRow {
  seq: number
  id: string
  tenant: string
  name: string
  state: LifeState
  descr: string
  create_mode: string
  uuid: string
  admin_state: 'online' | 'offline'
  access_control_mode: string
  /** A resolved reference as JSON; null without a template. */
  app_template: string | null
  repair_priority: string
  restore_point: string
  /** `id` of the app snapshot that is being restored; a start finishes it. */
  restoring: string | null
  metadata: string
}

export interface StorageInstanceRow {
  seq: number
  uuid: string
  app_instance: string
  name: string
  state: LifeState
  admin_state: 'online' | 'offline'
  iqn: string
  access_control_mode: 'allow_all' | 'deny_all'
  auth: string
  /** A resolved reference as JSON. */
  ip_pool: string
  service_configuration: string
  next_lun: number
  metadata: string
}

export interface VolumeRow {
  seq: number
  store_id: string
  storage_instance: string
  name: string
  state: LifeState
  uuid: string
  lun: number
  size_gib: number
  replica_count: number
  placement_mode: string
  /** A resolved reference as JSON. */
  placement_policy: string
  performance_policy: string | null
  restore_point: string
}

/** A data directory that the node has, or had. */
export interface MediumRow {
  id: string
  path: string
  kind: 'flash' | 'hdd'
}

/** A copy of a volume, and of its snapshots, on a medium. */
export interface CopyRow {
  store_id: string
  medium: string
  /** `stale`: it has missed something, and is built anew. */
  state: 'current' | 'stale'
  /** Pages of 63 MiB in which it may differ after a crash, as JSON. */
  resync: string
}

export interface AppSnapshotRow {
  seq: number
  id: string
  app_instance: string
  uuid: string
  utc_ts: string
  state: LifeState
  structure: string
  /** `id` of the policy that took it; empty when a user did. */
  policy: string
}

export interface SnapshotRow {
  seq: number
  store_id: string
  volume: string
  app_snapshot: string | null
  uuid: string
  utc_ts: string
  state: LifeState
  size_gib: number
  /** As of an app snapshot. */
  policy: string
}

export interface SnapshotPolicyRow {
  seq: number
  /** Never used again, so that its snapshots are known as its own. */
  id: string
  owner: string
  name: string
  interval: string
  retention_count: number
  start_time: string
  /** UNIX milliseconds; 0 when it has to be computed. */
  next_run: number
}

export interface InitiatorRow {
  seq: number
  tenant: string
  id: string
  name: string
}

export interface InitiatorGroupRow {
  seq: number
  tenant: string
  name: string
}

export interface DocumentRow {
  seq: number
  collection: string
  tenant: string
  name: string
  content: string
}

export interface EventRow {
  seq: number
  uuid: string
  kind: 'system' | 'user'
  time: string
  last_seen: string
  repeat_count: number
  code: string
  severity: string
  description: string
  tenant: string
  object_path: string
  context: string
}

export interface AlertRow {
  seq: number
  uuid: string
  code: string
  severity: 'warning' | 'critical'
  description: string
  tenant: string
  object_path: string
  raised: string
  last_seen: string
  repeat_count: number
  cleared: number
  /** What was sent to the monitoring destination: 1 that it was raised, 2 that it is over. */
  told: number
}
