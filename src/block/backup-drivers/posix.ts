import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { optionalText } from '../../kernel/config/options.ts'
import { Misconfigured, messageOf } from '../../kernel/errors.ts'
import { defineBackupDriver } from '../backup-driver.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { type DirectorySettings, directoryOptions } from './posix-options.ts'
import { PosixBlobStore } from './posix-store.ts'

interface PosixSettings extends DirectorySettings {
  readonly path: string | undefined
}

/** Backups in a directory of this machine, or of a file system that is mounted there. */
export default defineBackupDriver<PosixSettings>({
  name: 'posix',
  aliases: ['cinder.backup.drivers.posix.PosixBackupDriver', 'cinder.backup.drivers.posix'],
  options: {
    ...directoryOptions,
    path: optionalText('backup_posix_path', {
      help: 'Where backups are kept. Default: backup in the state directory.',
    }),
  },
  create(settings, host) {
    const directory = settings.path ?? join(host.stateDirectory, 'backup')
    return chunkedBackupDriver(
      new PosixBlobStore({
        chunkBytes: settings.fileBytes,
        blockBytes: settings.blockBytes,
        container: settings.container,
        mayCreate: settings.mayCreate,
        async directory() {
          try {
            await mkdir(directory, { recursive: true, mode: 0o770 })
          } catch (cause) {
            throw new Misconfigured(`backup_posix_path: ${directory}: ${messageOf(cause)}.`, { cause })
          }
          return directory
        },
      }),
      settings,
    )
  },
})
