import {
  boolean,
  integer,
  multiple,
  type Option,
  optionalText,
  seconds,
} from '../../kernel/config/options.ts'
import { Invalid } from '../../kernel/errors.ts'

/** An octal file mode; 0 leaves it to the umask. */
const fileMode: Option<number> = {
  ...integer('filesystem_store_file_perm', {
    help: 'Mode of image files in octal, for instance 640; 0 leaves it to the umask. The owner must be able to read.',
  }),
  kind: 'octal',
  parse(text) {
    const value = text.replace(/^0o/, '')
    if (!/^[0-7]{1,4}$/.test(value)) throw new Invalid(`expected an octal file mode, not '${text}'`)
    const mode = Number.parseInt(value, 8)
    if (mode !== 0 && (mode & 0o400) === 0)
      throw new Invalid(`mode ${text} would keep the owner from reading`)
    return mode
  },
}

/** Options of `[<store>]` for a store of type `file`; upstream's names. */
export const fileStoreOptions = {
  directory: optionalText('filesystem_store_datadir', {
    help: 'Directory of the image files. Made if it is missing. Each store needs its own.',
  }),
  directories: multiple('filesystem_store_datadirs', {
    help: 'Several directories, one per line as path:priority; the highest priority with room is used.',
  }),
  metadataFile: optionalText('filesystem_store_metadata_file', {
    help: 'Read for compatibility; location metadata of mount points is not exposed.',
  }),
  fileMode,
  chunkBytes: integer('filesystem_store_chunk_size', {
    default: 65_536,
    min: 1,
    help: 'Bytes of a stretch that thin provisioning looks at.',
  }),
  thinProvisioning: boolean('filesystem_thin_provisioning', {
    help: 'Leave stretches of zeroes out of the files.',
  }),
  timeoutSeconds: seconds('filesystem_store_timeout', {
    help: 'Read for compatibility: file operations never block the service here.',
  }),
  threadPoolSize: integer('filesystem_store_thread_pool_size', {
    default: 10,
    help: 'Read for compatibility.',
  }),
  threadPoolThreshold: integer('filesystem_store_threadpool_threshold', {
    default: 75,
    help: 'Read for compatibility.',
  }),
}
