import { defineBackupDriver } from '../../backup-driver.ts'
import { type DateraBackupSettings, dateraBackupOptions } from './options.ts'

export default defineBackupDriver<DateraBackupSettings>({
  name: 'datera',
  aliases: ['cinder.backup.drivers.datera.DateraBackupDriver', 'cinder.backup.drivers.datera'],
  options: dateraBackupOptions,
  async create(settings, host) {
    const [{ chunkedBackupDriver }, { DateraBlobStore }] = await Promise.all([
      import('../chunked/chunked.ts'),
      import('./store.ts'),
    ])
    return chunkedBackupDriver(new DateraBlobStore(settings, host), settings)
  },
})
