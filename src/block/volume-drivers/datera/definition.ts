import { defineVolumeDriver } from '../../volume-driver.ts'
import { DateraDriver } from './driver.ts'
import { type DateraSettings, dateraOptions } from './options.ts'

export default defineVolumeDriver<DateraSettings>({
  name: 'datera',
  aliases: [
    'cinder.volume.drivers.datera.datera_iscsi.DateraDriver',
    'cinder.volume.drivers.datera.DateraDriver',
  ],
  options: dateraOptions,
  create: (settings, backend) => new DateraDriver(settings, backend),
})
