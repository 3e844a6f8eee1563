import type { Updateable } from 'kysely'
import { messageOf, Unsupported } from '../../kernel/errors.ts'
import type { VolumesTable } from '../db/tables.ts'
import { stringMapOf } from '../types/queries.ts'
import type { VolumeRow } from '../volumes/queries.ts'

/** Keys under which upstream keeps a volume's facts in a backup. @see cinder/backup/driver.py BackupMetadataAPI */
const baseKey = 'volume-base-metadata'
const metadataKey = 'volume-metadata'
const imageKey = 'volume-glance-metadata'

/** The facts of a volume that a backup keeps, as JSON text. */
export function volumeFacts(volume: VolumeRow): string {
  const document = {
    version: 2,
    [baseKey]: {
      id: volume.id,
      display_name: volume.name,
      display_description: volume.description,
      size: volume.size_gib,
      volume_type_id: volume.volume_type_id,
      availability_zone: volume.availability_zone,
      bootable: volume.bootable === 1,
      encryption_key_id: volume.encryption_key_id,
      created_at: volume.created_at,
    },
    [metadataKey]: stringMapOf(volume.metadata),
    ...(volume.image_metadata === null ? {} : { [imageKey]: JSON.parse(volume.image_metadata) }),
  }
  return JSON.stringify(document)
}

/**
 * What a restored volume takes over: metadata, image metadata, and the name, unless it has one of its own.
 * @param facts of each level of the backup, the last one wins
 * @throws Unsupported for facts of another version
 */
export function restoredFacts(
  volume: VolumeRow,
  backupId: string,
  facts: readonly string[],
): Updateable<VolumesTable> {
  let metadata = stringMapOf(volume.metadata)
  const set: Updateable<VolumesTable> = {}
  for (const text of facts) {
    let document: Readonly<Record<string, unknown>>
    try {
      document = Object(JSON.parse(text)) as Readonly<Record<string, unknown>>
    } catch (cause) {
      throw new Unsupported(`The volume's metadata in the backup cannot be read: ${messageOf(cause)}`, {
        cause,
      })
    }
    if (document['version'] !== 1 && document['version'] !== 2) {
      throw new Unsupported('Metadata restore failed due to incompatible version.')
    }
    if (document[metadataKey] !== undefined) metadata = texts(document[metadataKey])
    const name: unknown = Reflect.get(Object(document[baseKey]), 'display_name')
    if (typeof name === 'string' && name !== '' && /^(restore_backup_.*)?$/.test(volume.name ?? '')) {
      set.name = name
      const description: unknown = Reflect.get(Object(document[baseKey]), 'display_description')
      set.description = typeof description === 'string' ? description : null
    }
    if (document[imageKey] !== undefined) {
      set.image_metadata = JSON.stringify(texts(document[imageKey]))
      set.bootable = 1
    }
  }
  return { ...set, metadata: JSON.stringify({ ...metadata, src_backup_id: backupId }) }
}

function texts(value: unknown): Record<string, string> {
  const entries = Object.entries(Object(value)).filter(([, text]) => typeof text === 'string')
  return Object.fromEntries(entries) as Record<string, string> // filtered just now
}
