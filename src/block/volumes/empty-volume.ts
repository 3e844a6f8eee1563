import type { VolumesTable } from '../db/tables.ts'

/** What a volume is before anything has happened to it. */
export const emptyVolume = {
  pending_size_gib: null,
  status: 'creating',
  previous_status: null,
  attach_status: 'detached',
  migration_status: null,
  host: null,
  replication_status: null,
  group_id: null,
  encryption_key_id: null,
  consumes_quota: 1,
  provider_location: null,
  provider_id: null,
  name_id: null,
  service_id: null,
  admin_metadata: '{}',
  updated_at: null,
  launched_at: null,
} satisfies Partial<VolumesTable>
