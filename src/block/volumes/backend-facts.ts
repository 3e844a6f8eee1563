import { GiB } from '../../kernel/bytes.ts'
import type { BlockDb } from '../context.ts'
import type { BlockSettings } from '../settings.ts'
import type { SnapshotRow } from '../snapshots/queries.ts'
import { stringMapOf, typeFacts } from '../types/queries.ts'
import type { BackendSnapshot, BackendVolume } from '../volume-driver.ts'
import type { VolumeRow } from './queries.ts'

/** The id by which the backend knows a volume: another one than its own after some migrations. */
export function backendIdOf(row: Pick<VolumeRow, 'id' | 'name_id'>): string {
  return row.name_id ?? row.id
}

/** A volume as drivers see it. */
export async function backendVolume(
  db: BlockDb,
  settings: BlockSettings,
  row: VolumeRow,
): Promise<BackendVolume> {
  return {
    id: backendIdOf(row),
    name: settings.volumeNameTemplate.replace('%s', backendIdOf(row)),
    sizeBytes: row.size_gib * GiB,
    projectId: row.project_id,
    type: await typeFacts(db, row.volume_type_id),
    metadata: stringMapOf(row.metadata),
    displayName: row.name ?? undefined,
    bootable: row.bootable === 1,
    availabilityZone: row.availability_zone ?? undefined,
    providerLocation: row.provider_location ?? undefined,
  }
}

/** A snapshot as drivers see it. @param volume the row of the volume it is of */
export async function backendSnapshot(
  db: BlockDb,
  settings: BlockSettings,
  row: SnapshotRow,
  volume: VolumeRow,
): Promise<BackendSnapshot> {
  return {
    id: row.id,
    name: settings.snapshotNameTemplate.replace('%s', row.id),
    volume: await backendVolume(db, settings, volume),
    providerLocation: row.provider_location ?? undefined,
  }
}
