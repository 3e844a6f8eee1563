import type { JobTables } from '../../kernel/jobs/job-queue.ts'

/**
 * The tables of the block storage service. Times are ISO-8601 text, sizes GiB as the API counts them, flags 0 or
 * 1; open-ended maps (metadata, extra specs, connectors) are JSON objects in text.
 */
export interface BlockTables {
  volumes: VolumesTable
  snapshots: SnapshotsTable
  volume_attachments: VolumeAttachmentsTable
  volume_types: VolumeTypesTable
  volume_type_projects: VolumeTypeProjectsTable
  default_volume_types: DefaultVolumeTypesTable
  volume_quotas: VolumeQuotasTable
  volume_quota_classes: VolumeQuotaClassesTable
  volume_quota_locks: VolumeQuotaLocksTable
  volume_messages: VolumeMessagesTable
  volume_services: VolumeServicesTable
  volume_qos_specs: VolumeQosSpecsTable
  volume_type_encryptions: VolumeTypeEncryptionsTable
  backups: BackupsTable
  volume_group_types: VolumeGroupTypesTable
  volume_groups: VolumeGroupsTable
  volume_group_volume_types: VolumeGroupVolumeTypesTable
  volume_group_snapshots: VolumeGroupSnapshotsTable
  volume_transfers: VolumeTransfersTable
  volume_image_cache: VolumeImageCacheTable
  volume_totals: VolumeTotalsTable
  volume_host_totals: VolumeHostTotalsTable
  snapshot_totals: SnapshotTotalsTable
  volume_pairs: VolumePairsTable
}

/** The service's own tables and the queue that they share a database with. */
export type Tables = BlockTables & JobTables

export interface VolumesTable {
  id: string
  project_id: string
  user_id: string
  name: string | null
  description: string | null
  size_gib: number
  /** While an extend runs: the size it will have. */
  pending_size_gib: number | null
  status: string
  /** What `status` returns to after an extend or an upload. */
  previous_status: string | null
  attach_status: string
  migration_status: string | null
  /** `host@backend#pool`; null until the scheduler has chosen. */
  host: string | null
  availability_zone: string | null
  volume_type_id: string | null
  /** Kept when the snapshot is gone. */
  snapshot_id: string | null
  /** Kept when the source is gone. */
  source_volume_id: string | null
  bootable: number
  multiattach: number
  replication_status: string | null
  group_id: string | null
  encryption_key_id: string | null
  consumes_quota: number
  /** The driver's own note, see `Created`. */
  provider_location: string | null
  provider_id: string | null
  /** After a migration: the id by which the backend knows it; null when that is `id`. */
  name_id: string | null
  /** `volume_services.id` of the backend's service. */
  service_id: string | null
  /** JSON, strings by key. */
  metadata: string
  /** JSON: `readonly`, `attached_mode`. Shown merged into the metadata. */
  admin_metadata: string
  /** JSON; null for a volume that has nothing of an image. */
  image_metadata: string | null
  created_at: string
  updated_at: string | null
  launched_at: string | null
}

export interface SnapshotsTable {
  id: string
  project_id: string
  user_id: string
  volume_id: string
  /** The group snapshot that it is a part of. */
  group_snapshot_id: string | null
  volume_type_id: string | null
  name: string | null
  description: string | null
  size_gib: number
  status: string
  /** `NN%`. */
  progress: string | null
  encryption_key_id: string | null
  consumes_quota: number
  provider_location: string | null
  metadata: string
  created_at: string
  updated_at: string | null
}

export interface VolumeAttachmentsTable {
  id: string
  volume_id: string
  project_id: string
  /** UUID of the server, where there is one. */
  instance_id: string | null
  attached_host: string | null
  mountpoint: string | null
  /** `rw`, `ro`, or the text `null` while it is not known. */
  attach_mode: string
  attach_status: string
  /** JSON. */
  connector: string | null
  /** JSON: driver_volume_type and data, flattened as the API shows them. */
  connection_info: string | null
  attached_at: string | null
  detached_at: string | null
  created_at: string
}

export interface VolumeTypesTable {
  id: string
  name: string
  description: string | null
  is_public: number
  /** JSON, strings by key. */
  extra_specs: string
  qos_specs_id: string | null
  created_at: string
  updated_at: string | null
}

export interface VolumeQosSpecsTable {
  id: string
  name: string
  /** Who enforces them: `front-end` (the hypervisor), `back-end` (the array) or `both`. */
  consumer: string
  /** JSON, strings by key. */
  specs: string
  created_at: string
  updated_at: string | null
}

/** How volumes of a type are encrypted. */
export interface VolumeTypeEncryptionsTable {
  id: string
  volume_type_id: string
  provider: string
  /** `front-end` or `back-end`. */
  control_location: string
  cipher: string | null
  /** Bits. */
  key_size: number | null
  created_at: string
  updated_at: string | null
}

/** Who may use a private type. */
export interface VolumeTypeProjectsTable {
  volume_type_id: string
  project_id: string
}

export interface DefaultVolumeTypesTable {
  project_id: string
  volume_type_id: string
}

/** A project's own limits; -1 is none. */
export interface VolumeQuotasTable {
  project_id: string
  resource: string
  hard_limit: number
}

export interface VolumeQuotaClassesTable {
  class_name: string
  resource: string
  hard_limit: number
}

/** One row per project, updated to serialise what counts against its quota. */
export interface VolumeQuotaLocksTable {
  project_id: string
  taken: number
}

export interface VolumeMessagesTable {
  id: string
  project_id: string
  request_id: string
  resource_type: string
  resource_uuid: string | null
  /** `001` to `016`. */
  action_id: string
  /** `001` to `030`. */
  detail_id: string
  event_id: string
  /** What exactly went wrong, for the user; appended to the detail's general text. */
  sentence: string | null
  message_level: string
  expires_at: string
  created_at: string
}

export interface VolumeServicesTable {
  id: string
  host: string
  binary: string
  availability_zone: string
  disabled: number
  disabled_reason: string | null
  /** `up` or `down`: whether the backend answers. */
  backend_state: string | null
  /** 1 while nothing may be made, changed or removed on the backend. */
  frozen: number
  replication_status: string | null
  /** Where the backend has failed over to. */
  active_backend_id: string | null
  created_at: string
  /** The last sign of life. */
  updated_at: string
}

export interface VolumeGroupTypesTable {
  id: string
  name: string
  description: string | null
  is_public: number
  /** JSON, strings by key. */
  group_specs: string
  created_at: string
  updated_at: string | null
}

export interface VolumeGroupsTable {
  id: string
  project_id: string
  user_id: string
  name: string | null
  description: string | null
  status: string
  availability_zone: string | null
  group_type_id: string
  /** `host@backend#pool`; null until the scheduler has chosen. Members may be in other pools of the backend. */
  host: string | null
  /** What it was made from, if anything. */
  group_snapshot_id: string | null
  source_group_id: string | null
  replication_status: string | null
  created_at: string
  updated_at: string | null
}

/** The volume types that members of a group may have. */
export interface VolumeGroupVolumeTypesTable {
  group_id: string
  volume_type_id: string
}

export interface VolumeGroupSnapshotsTable {
  id: string
  project_id: string
  user_id: string
  group_id: string
  group_type_id: string
  name: string | null
  description: string | null
  status: string
  created_at: string
  updated_at: string | null
}

/** A volume that is offered to whoever knows the key. The row goes when it is accepted or withdrawn. */
export interface VolumeTransfersTable {
  id: string
  volume_id: string
  name: string | null
  salt: string
  /** Of the key, with the salt; the key itself is shown once. */
  key_hash: string
  no_snapshots: number
  source_project_id: string
  created_at: string
}

/** A hidden volume that holds an image, to be cloned. */
export interface VolumeImageCacheTable {
  id: string
  image_id: string
  /** `host@backend`. */
  host: string
  /** Of the image when it was copied: another one means other data. */
  image_checksum: string | null
  volume_id: string
  size_gib: number
  last_used_at: string
}

export interface BackupsTable {
  id: string
  project_id: string
  user_id: string
  /** All zeroes until an imported record has been read. */
  volume_id: string
  snapshot_id: string | null
  /** The backup that this one is an increment of. */
  parent_id: string | null
  name: string | null
  description: string | null
  size_gib: number
  status: string
  fail_reason: string | null
  object_count: number
  /** Where it lies, as the driver said; null when it never came so far. */
  container: string | null
  /** Class of the driver, as upstream names it. */
  service: string | null
  /** Short key of the driver that has it; null only for imported records of others, until it is known. */
  handler: string | null
  /** What the names of its objects begin with. */
  service_metadata: string | null
  /** SHA-256 of the metadata object; null for backups that others have made. */
  metadata_sha256: string | null
  encrypted: number
  availability_zone: string | null
  host: string | null
  encryption_key_id: string | null
  /** JSON, strings by key. */
  metadata: string
  /** JSON: what is being done with it, or was last, and how far it is. See `Activity`. */
  activity: string | null
  restore_volume_id: string | null
  /** The moment of its data. */
  data_timestamp: string
  created_at: string
  updated_at: string | null
}

/** How many volumes a project has, and how big they are together. Triggers keep it. */
export interface VolumeTotalsTable {
  project_id: string
  /** Empty for volumes without a type. */
  volume_type_id: string
  consumes_quota: number
  /** Whether they are what migrations copy to. */
  is_target: number
  volumes: number
  size_gib: number
  /** What extends under way will add. */
  growth_gib: number
}

/** What a project's volumes take of each pool; as `VolumeTotalsTable`. */
export interface VolumeHostTotalsTable {
  project_id: string
  /** `host@backend#pool`. */
  host: string
  volumes: number
  /** What the volumes may grow to. */
  provisioned_gib: number
}

/** As `VolumeTotalsTable`. */
export interface SnapshotTotalsTable {
  project_id: string
  volume_type_id: string
  consumes_quota: number
  snapshots: number
  size_gib: number
}

/** An index of volumes by what they say of themselves, in the order of their creation. Triggers keep it. */
export interface VolumePairsTable {
  volume_id: string
  /** The column of `volumes`: `metadata`, `admin_metadata` or `image_metadata`. */
  kind: string
  pair_key: string
  /** The first 255 characters. */
  pair_value: string
  /** The volume's project. */
  owner_id: string
  /** When the volume was created. */
  made_at: string
}
