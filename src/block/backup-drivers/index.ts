import type { AnyBackupDriverDefinition } from '../backup-driver.ts'
import memory from './memory.ts'
import nfs from './nfs.ts'
import posix from './posix.ts'

/** Every driver that `backup_driver =` and the lists of secondary drivers may name. */
export const backupDrivers: readonly AnyBackupDriverDefinition[] = [posix, nfs, memory]
