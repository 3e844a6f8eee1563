import { defineBackupDriver } from '../../backup-driver.ts'
import { chunkedBackupDriver } from '../chunked/chunked.ts'
import { type DateraBackupSettings, dateraBackupOptions } from './options.ts'
import { DateraBlobStore } from './store.ts'

export default defineBackupDriver<DateraBackupSettings>({
  name: 'datera',
  aliases: ['cinder.backup.drivers.datera.DateraBackupDriver', 'cinder.backup.drivers.datera'],
  options: dateraBackupOptions,
  create: (settings, host) => chunkedBackupDriver(new DateraBlobStore(settings, host), settings),
})
