import type { StoreRegistry } from '../store-registry.ts'
import type { Image } from './queries.ts'

/** Properties that only the service itself reads. */
const hiddenProperties: ReadonlySet<string> = new Set(['os_glance_stage_host', 'os_glance_hash_op_host'])

export interface ViewOptions {
  readonly stores: StoreRegistry
  readonly showLocations: boolean
  readonly showDirectUrl: boolean
  readonly isAdmin: boolean
  /** The custom properties that the caller may read; all of them without protections. */
  readable(properties: Image['properties']): Image['properties']
}

/** `2026-11-22T04:10:53Z`: seconds, UTC. */
export function wireTime(iso: string): string {
  return `${iso.slice(0, 19)}Z`
}

/** An image as it is on the wire. The only place that spells its names. */
export function imageView(image: Image, options: ViewOptions): Record<string, unknown> {
  const self = `/v2/images/${image.id}`
  const view: Record<string, unknown> = {
    ...options.readable(image.properties),
    id: image.id,
    name: image.name,
    status: image.status,
    visibility: image.visibility,
    protected: image.protected === 1,
    os_hidden: image.os_hidden === 1,
    owner: image.owner,
    container_format: image.container_format,
    disk_format: image.disk_format,
    min_disk: image.min_disk,
    min_ram: image.min_ram,
    size: image.size,
    virtual_size: image.virtual_size,
    checksum: image.checksum,
    os_hash_algo: image.os_hash_algo,
    os_hash_value: image.os_hash_value,
    tags: image.tags,
    created_at: wireTime(image.created_at),
    updated_at: wireTime(image.updated_at),
    self,
    file: `${self}/file`,
    schema: '/v2/schemas/image',
  }
  for (const name of hiddenProperties) if (name in image.properties) delete view[name]
  addLocations(view, image, options)
  return view
}

function addLocations(view: Record<string, unknown>, image: Image, options: ViewOptions): void {
  if (image.locations.length === 0 && !options.showLocations) return
  const locations = options.stores.byWeight(image.locations)
  if (options.stores.multiStore) {
    const names = locations.flatMap(({ storeId }) => (storeId === undefined ? [] : [storeId]))
    if (names.length > 0) view['stores'] = names.join(',')
  }
  const hidden = image.status === 'deactivated' && !options.isAdmin
  const [best] = hidden ? [] : locations
  if (options.showDirectUrl && best !== undefined) view['direct_url'] = best.url
  if (options.showLocations) {
    view['locations'] = hidden ? [] : locations.map(({ url, metadata }) => ({ url, metadata }))
  }
}
