import type { AnyVolumeDriverDefinition } from '../volume-driver.ts'
import datera from './datera/definition.ts'
import local from './local/definition.ts'
import memory from './memory.ts'
import rbd from './rbd/definition.ts'

/** Every driver that `volume_driver =` may name. */
export const volumeDrivers: readonly AnyVolumeDriverDefinition[] = [datera, local, memory, rbd]
