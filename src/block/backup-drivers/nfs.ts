import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { optionalText, text } from '../../kernel/config/options.ts'
import { Misconfigured } from '../../kernel/errors.ts'
import { defineBackupDriver } from '../backup-driver.ts'
import { chunkedBackupDriver } from './chunked/chunked.ts'
import { type DirectorySettings, directoryOptions } from './posix-options.ts'
import { PosixBlobStore } from './posix-store.ts'

interface NfsSettings extends DirectorySettings {
  readonly share: string | undefined
  readonly mountPointBase: string | undefined
  readonly mountOptions: string
}

/**
 * Backups on an NFS share. Nothing here needs root, so the share is not mounted here: it has to be mounted where
 * Cinder would mount it, `<backup_mount_point_base>/<MD5 of the share's name>`.
 */
export default defineBackupDriver<NfsSettings>({
  name: 'nfs',
  aliases: ['cinder.backup.drivers.nfs.NFSBackupDriver', 'cinder.backup.drivers.nfs'],
  options: {
    ...directoryOptions,
    share: optionalText('backup_share', { help: 'The share: host:/path.' }),
    mountPointBase: optionalText('backup_mount_point_base', {
      help: 'Below it the share is mounted. Default: backup_mount in the state directory.',
    }),
    mountOptions: text('backup_mount_options', { help: 'Accepted, without effect: the share is mounted.' }),
  },
  create(settings, host) {
    const { share } = settings
    return chunkedBackupDriver(
      new PosixBlobStore({
        chunkBytes: settings.fileBytes,
        blockBytes: settings.blockBytes,
        container: settings.container,
        mayCreate: settings.mayCreate,
        async directory() {
          if (share === undefined) throw new Misconfigured('backup_share must be set: host:/path.')
          const base = settings.mountPointBase ?? join(host.stateDirectory, 'backup_mount')
          const directory = join(base, createHash('md5').update(share).digest('hex'))
          const found = await stat(directory).catch(() => undefined)
          if (found?.isDirectory() !== true) {
            throw new Misconfigured(`Mount ${share} at ${directory}, and start the service again.`)
          }
          return directory
        },
      }),
      settings,
    )
  },
})
