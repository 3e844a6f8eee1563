import { defineVolumeDriver } from '../../volume-driver.ts'
import { type DateraSettings, dateraOptions } from './options.ts'

export default defineVolumeDriver<DateraSettings>({
  name: 'datera',
  aliases: [
    'cinder.volume.drivers.datera.datera_iscsi.DateraDriver',
    'cinder.volume.drivers.datera.DateraDriver',
  ],
  options: dateraOptions,
  async create(settings, backend) {
    const { DateraDriver } = await import('./driver.ts')
    return new DateraDriver(settings, backend)
  },
})
