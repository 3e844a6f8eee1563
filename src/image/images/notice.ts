import type { Image } from './queries.ts'
import { wireTime } from './view.ts'

/** What a notification says of an image: its record, without the places where it lies. */
export function imageNotice(image: Image): Record<string, unknown> {
  return {
    id: image.id,
    name: image.name,
    status: image.status,
    created_at: wireTime(image.created_at),
    updated_at: wireTime(image.updated_at),
    min_disk: image.min_disk,
    min_ram: image.min_ram,
    protected: image.protected === 1,
    checksum: image.checksum,
    owner: image.owner,
    disk_format: image.disk_format,
    container_format: image.container_format,
    size: image.size,
    is_public: image.visibility === 'public',
    visibility: image.visibility,
    properties: image.properties,
    tags: image.tags,
    deleted: image.deleted_at !== null,
    deleted_at: image.deleted_at === null ? null : wireTime(image.deleted_at),
  }
}
