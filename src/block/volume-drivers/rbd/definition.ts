import { defineVolumeDriver } from '../../volume-driver.ts'
import { RbdDriver } from './driver.ts'
import { rbdOptions } from './options.ts'

export default defineVolumeDriver({
  name: 'rbd',
  aliases: ['cinder.volume.drivers.rbd.RBDDriver'],
  options: rbdOptions,
  create: (settings, backend) => new RbdDriver(settings, backend),
})
