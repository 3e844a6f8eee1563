import { boolean, integer, type OptionSet, optionalText } from '../../kernel/config/options.ts'
import { type ChunkedSettings, chunkedOptions } from './chunked/options.ts'

/** What the drivers that keep backups in directories have in common. */
export interface DirectorySettings extends ChunkedSettings {
  readonly fileBytes: number
  readonly blockBytes: number
  readonly container: string | undefined
  readonly mayCreate: boolean
}

export const directoryOptions: OptionSet<DirectorySettings> = {
  ...chunkedOptions,
  fileBytes: integer('backup_file_size', {
    help: 'Most bytes of a volume in one file; a multiple of backup_sha_block_size_bytes.',
    default: 61_035 * 32_768,
    min: 512,
  }),
  blockBytes: integer('backup_sha_block_size_bytes', {
    help: 'Bytes by which changes are tracked for incremental backups.',
    default: 32_768,
    min: 512,
  }),
  container: optionalText('backup_container', {
    help: 'Directory of backups that ask for none. Default: one for each, derived from its id.',
  }),
  mayCreate: boolean('backup_create_containers', {
    help: 'Make directories and containers that are missing.',
    default: true,
  }),
}
