import { defineVolumeDriver } from '../../volume-driver.ts'
import { type LocalSettings, localOptions } from './options.ts'

export default defineVolumeDriver<LocalSettings>({
  name: 'local',
  aliases: ['emberglass.local'],
  options: localOptions,
  async create(settings, backend) {
    const { LocalVolumeDriver } = await import('./driver.ts')
    return new LocalVolumeDriver(settings, backend)
  },
})
