import { defineVolumeDriver } from '../../volume-driver.ts'
import { rbdOptions } from './options.ts'

export default defineVolumeDriver({
  name: 'rbd',
  aliases: ['cinder.volume.drivers.rbd.RBDDriver'],
  options: rbdOptions,
  async create(settings, backend) {
    const { RbdDriver } = await import('./driver.ts')
    return new RbdDriver(settings, backend)
  },
})
