import { after } from 'node:test'
import { type BackupDriverFixture, backupDriverConformance } from '../../backup-driver.conformance.ts'
import type { StoredBackup } from '../../backup-driver.ts'
import { chunkedBackupDriver } from '../chunked/chunked.ts'
import { metadataName, objectName, sha256Name } from '../chunked/documents.ts'
import { BackupArray, initiatorName } from './datera.test-support.ts'
import { DateraBlobStore } from './store.ts'

let started: Promise<BackupArray> | undefined

after(async () => await (await started)?.[Symbol.asyncDispose]())

async function onArray(): Promise<BackupDriverFixture> {
  started ??= BackupArray.start()
  const array = await started
  const tenant = array.nextTenant()
  const settings = array.settings({ tenant })
  const open = () => chunkedBackupDriver(new DateraBlobStore(settings, { initiatorName }), settings)
  const driver = open()
  return {
    driver,
    reopen: async () => open(),
    leftovers: async () => (await array.appInstances(tenant)).map(({ name }) => name),
    async objects(backup: StoredBackup) {
      const { prefix } = backup
      const snapshots = await array.snapshots(tenant, await array.containerOf(tenant, backup))
      const data = snapshots.slice(2).map((_, index) => objectName(prefix, index + 1))
      return [...data, sha256Name(prefix), metadataName(prefix)]
    },
    flip: (backup, name) => array.flip(tenant, backup, name),
    [Symbol.asyncDispose]: () => driver[Symbol.asyncDispose](),
  }
}

backupDriverConformance('datera', onArray)
