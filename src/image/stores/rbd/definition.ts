import { defineImageStore } from '../../image-store.ts'
import { rbdStoreOptions } from './options.ts'

export default defineImageStore({
  type: 'rbd',
  schemes: ['rbd'],
  options: rbdStoreOptions,
  async create(settings) {
    const { RbdImageStore } = await import('./store.ts')
    return new RbdImageStore(settings)
  },
  occupies: ({ configurationFile, pool }) => `${configurationFile}, pool ${pool}`,
})
