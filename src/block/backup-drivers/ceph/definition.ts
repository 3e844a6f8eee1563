import { defineBackupDriver } from '../../backup-driver.ts'
import { CephBackupDriver } from './driver.ts'
import { cephBackupOptions } from './options.ts'

export default defineBackupDriver({
  name: 'ceph',
  aliases: ['cinder.backup.drivers.ceph.CephBackupDriver', 'cinder.backup.drivers.ceph'],
  options: cephBackupOptions,
  create: (settings) => new CephBackupDriver(settings),
})
