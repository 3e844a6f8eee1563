import { defineVolumeDriver } from '../../volume-driver.ts'
import { LocalVolumeDriver } from './driver.ts'
import { type LocalSettings, localOptions } from './options.ts'

export default defineVolumeDriver<LocalSettings>({
  name: 'local',
  aliases: ['emberglass.local'],
  options: localOptions,
  create: (settings, backend) => new LocalVolumeDriver(settings, backend),
})
