import { imageStoreConformance } from '../image-store.conformance.ts'
import { MemoryStore } from './memory.ts'

imageStoreConformance('memory store', async () => {
  const store = new MemoryStore('test')
  return {
    store,
    leftovers: async () => store.imageIds,
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
})
