import type { AnyBackupDriverDefinition } from '../backup-driver.ts'
import ceph from './ceph/definition.ts'
import datera from './datera/definition.ts'
import memory from './memory.ts'
import nfs from './nfs.ts'
import posix from './posix.ts'
import s3 from './s3.ts'
import swift from './swift.ts'

/** Every driver that `backup_driver =` and the lists of secondary drivers may name. */
export const backupDrivers: readonly AnyBackupDriverDefinition[] = [
  datera,
  ceph,
  swift,
  s3,
  posix,
  nfs,
  memory,
]
