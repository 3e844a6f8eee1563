import { defineImageStore } from '../../image-store.ts'
import { type DateraStoreSettings, dateraStoreOptions } from './options.ts'
import { DateraStore } from './store.ts'

export default defineImageStore<DateraStoreSettings>({
  type: 'datera',
  schemes: ['datera'],
  options: dateraStoreOptions,
  create: (settings, { initiatorName }) => new DateraStore(settings, initiatorName),
  occupies: ({ host, tenant }) => `${host}, tenant ${tenant ?? '/root'}`,
})
