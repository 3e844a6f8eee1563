import { defineImageStore } from '../../image-store.ts'
import { type DateraStoreSettings, dateraStoreOptions } from './options.ts'

export default defineImageStore<DateraStoreSettings>({
  type: 'datera',
  schemes: ['datera'],
  options: dateraStoreOptions,
  async create(settings, { initiatorName }) {
    const { DateraStore } = await import('./store.ts')
    return new DateraStore(settings, initiatorName)
  },
  occupies: ({ host, tenant }) => `${host}, tenant ${tenant ?? '/root'}`,
})
