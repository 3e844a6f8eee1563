import type { Config } from '../../kernel/config/config.ts'
import { choice, integer, optionalText } from '../../kernel/config/options.ts'
import { byteSize, type Values } from '../option-kinds.ts'

const cacheOptions = {
  directory: optionalText('image_cache_dir', {
    help: 'Where downloaded images are kept for the next download. Without it there is no cache.',
  }),
  driver: choice('image_cache_driver', ['centralized_db', 'sqlite', 'xattr'], {
    default: 'centralized_db',
    help: 'The records are always in the database; with the others, nodes are not told of one another.',
  }),
  maxBytes: {
    ...byteSize('image_cache_max_size', { help: 'Bytes that the cache may hold.' }),
    default: 10 * 1024 ** 3,
  },
  stallSeconds: integer('image_cache_stall_time', {
    default: 86_400,
    min: 0,
    help: 'Seconds after which an image that is not whole yet counts as given up.',
  }),
}

const pasteOptions = {
  flavor: optionalText('flavor', {
    help: 'keystone, keystone+caching or keystone+cachemanagement: whether downloads use the cache, and whether the older cache API is served.',
  }),
}

export type CacheSettings = Values<typeof cacheOptions> & {
  /** Downloads are served from the cache, and fill it. */
  readonly onDownload: boolean
  /** `/v2/cached_images` and `/v2/queued_images` exist. */
  readonly olderApi: boolean
}

export function readCacheSettings(config: Config): CacheSettings {
  const { flavor } = config.read('paste_deploy', pasteOptions)
  const settings = config.read('DEFAULT', cacheOptions)
  const isOn = settings.directory !== undefined
  return {
    ...settings,
    // nobody who sets the directory and no flavor wants it to lie there empty
    onDownload: isOn && (flavor === undefined || flavor.includes('cach')),
    olderApi: isOn && (flavor ?? '').includes('cachemanagement'),
  }
}
