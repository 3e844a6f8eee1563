import { defineImageStore } from '../../image-store.ts'
import { rbdStoreOptions } from './options.ts'
import { RbdImageStore } from './store.ts'

export default defineImageStore({
  type: 'rbd',
  schemes: ['rbd'],
  options: rbdStoreOptions,
  create: (settings) => new RbdImageStore(settings),
  occupies: ({ configurationFile, pool }) => `${configurationFile}, pool ${pool}`,
})
