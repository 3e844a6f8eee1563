import { choice, type OptionSet, optionalText } from '../../../kernel/config/options.ts'

/** What every chunked driver can be told. */
export interface ChunkedSettings {
  readonly compression: 'none' | 'off' | 'no' | 'zlib' | 'gzip' | 'bz2' | 'bzip2' | 'zstd'
  readonly encryptionKeyFile: string | undefined
}

export const chunkedOptions: OptionSet<ChunkedSettings> = {
  compression: choice(
    'backup_compression_algorithm',
    ['none', 'off', 'no', 'zlib', 'gzip', 'bz2', 'bzip2', 'zstd'],
    { default: 'zlib', help: 'How backups are compressed; what does not shrink is kept as it is.' },
  ),
  encryptionKeyFile: optionalText('backup_encryption_key_file', {
    help: 'File of 32 bytes, or 64 hexadecimal digits, with which new backups are encrypted. Default: they are not.',
  }),
}
