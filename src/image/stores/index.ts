import type { AnyImageStoreDefinition } from '../image-store.ts'
import cinder from './cinder/definition.ts'
import datera from './datera/definition.ts'
import file from './file.ts'
import http from './http/definition.ts'
import memory from './memory.ts'
import rbd from './rbd/definition.ts'
import s3 from './s3/definition.ts'
import swift from './swift/definition.ts'
import vmware from './vmware/definition.ts'

/** Every type that `enabled_backends = name:type` may name. */
export const imageStores: readonly AnyImageStoreDefinition[] = [
  cinder,
  datera,
  file,
  http,
  memory,
  rbd,
  s3,
  swift,
  vmware,
]
