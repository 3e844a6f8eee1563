import { defineBackupDriver } from '../../backup-driver.ts'
import { cephBackupOptions } from './options.ts'

export default defineBackupDriver({
  name: 'ceph',
  aliases: ['cinder.backup.drivers.ceph.CephBackupDriver', 'cinder.backup.drivers.ceph'],
  options: cephBackupOptions,
  async create(settings) {
    const { CephBackupDriver } = await import('./driver.ts')
    return new CephBackupDriver(settings)
  },
})
