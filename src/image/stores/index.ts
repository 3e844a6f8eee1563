import type { AnyImageStoreDefinition } from '../image-store.ts'
import datera from './datera/definition.ts'
import file from './file.ts'
import memory from './memory.ts'
import rbd from './rbd/definition.ts'

/** Every type that `enabled_backends = name:type` may name. */
export const imageStores: readonly AnyImageStoreDefinition[] = [datera, file, memory, rbd]
