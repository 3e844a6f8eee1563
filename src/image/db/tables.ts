import type { JobTables } from '../../kernel/jobs/job-queue.ts'

/** One image. Times are ISO-8601 text with milliseconds, UTC; sizes are bytes. */
export interface ImagesTable {
  id: string
  name: string | null
  status: string
  visibility: string
  /** 0 or 1. */
  protected: number
  /** 0 or 1. */
  os_hidden: number
  owner: string | null
  container_format: string | null
  disk_format: string | null
  /** GiB, as on the wire. */
  min_disk: number
  /** MiB, as on the wire. */
  min_ram: number
  size: number | null
  virtual_size: number | null
  checksum: string | null
  os_hash_algo: string | null
  os_hash_value: string | null
  created_at: string
  updated_at: string
  /** Set when it is deleted: the row stays, because its id must not be used again. */
  deleted_at: string | null
  /** The upload that is filling it, while it is `saving`. */
  upload_id: string | null
  /** Until when that upload counts as alive; it renews this while it runs. */
  upload_alive_until: string | null
}

export interface ImagePropertiesTable {
  image_id: string
  name: string
  value: string
}

export interface ImageTagsTable {
  image_id: string
  value: string
}

export interface ImageLocationsTable {
  id: string
  image_id: string
  /** Order of insertion within the image. */
  position: number
  /** The store's own. */
  url: string
  /** JSON object; `store` names the store. */
  metadata: string
  /** `active`, or `pending_delete` while the data waits to be removed. */
  status: string
}

export interface ImageMembersTable {
  image_id: string
  /** A project's id. */
  member: string
  /** `pending`, `accepted` or `rejected`. */
  status: string
  created_at: string
  updated_at: string
}

/** Work that goes on after its request has been answered. */
export interface ImageTasksTable {
  id: string
  /** `api_image_import`, `location_import`, or the older API's `import`. */
  type: string
  /** `pending`, `processing`, `success` or `failure`. */
  status: string
  owner: string | null
  /** Null for an `import` whose image has not been made yet. */
  image_id: string | null
  request_id: string
  user_id: string
  /** JSON object. */
  input: string
  /** JSON object or null. */
  result: string | null
  message: string
  expires_at: string | null
  created_at: string
  updated_at: string
}

/** A namespace of metadata definitions. */
export interface MetadefNamespacesTable {
  id: string
  namespace: string
  display_name: string | null
  description: string | null
  /** `public` or `private`. */
  visibility: string
  /** 0 or 1. */
  protected: number
  owner: string | null
  created_at: string
  updated_at: string
}

/** What the parts of a namespace have in common. */
interface MetadefPart {
  namespace_id: string
  name: string
  created_at: string
  updated_at: string
}

export interface MetadefPropertiesTable extends MetadefPart {
  /** JSON object: the property's schema, without its name. */
  body: string
}

export interface MetadefObjectsTable extends MetadefPart {
  description: string | null
  /** JSON list of names. */
  required: string
  /** JSON object. */
  properties: string
}

/** What a namespace is meant for; `name` is that of the resource type. */
export interface MetadefAssociationsTable extends MetadefPart {
  prefix: string | null
  properties_target: string | null
}

export interface MetadefResourceTypesTable {
  name: string
  created_at: string
  updated_at: string
}

/** What each node's cache holds, or is to fetch. */
export interface ImageCacheTable {
  image_id: string
  node: string
  /** `queued` or `cached`. */
  state: string
  size: number
  hits: number
  last_accessed: string
  last_modified: string
}

export interface ImageTables extends JobTables {
  images: ImagesTable
  image_properties: ImagePropertiesTable
  image_tags: ImageTagsTable
  image_locations: ImageLocationsTable
  image_members: ImageMembersTable
  image_tasks: ImageTasksTable
  image_cache: ImageCacheTable
  metadef_namespaces: MetadefNamespacesTable
  metadef_properties: MetadefPropertiesTable
  metadef_objects: MetadefObjectsTable
  metadef_tags: MetadefPart
  metadef_associations: MetadefAssociationsTable
  metadef_resource_types: MetadefResourceTypesTable
}
