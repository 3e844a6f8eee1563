import { type AppInstance, type EdfScope, removeAppInstance } from '@emberglass/edf'
import { Unsupported } from '../../../kernel/errors.ts'
import { cachedImageDescription } from './manage.ts'
import type { Operation } from './operation.ts'

/**
 * Removes the least recently used copies of images until another one fits into the limits of the configuration.
 * Volumes that were cloned from them live on.
 * @throws Unsupported when it alone is larger than the limit
 */
export async function makeRoom(operation: Operation, scope: EdfScope, sizeGib: number): Promise<void> {
  const { imageCacheGib, imageCacheCount } = operation.settings
  if (imageCacheGib === 0 && imageCacheCount === 0) return
  if (imageCacheGib > 0 && sizeGib > imageCacheGib) {
    throw new Unsupported(`An image of ${sizeGib} GiB is larger than image_volume_cache_max_size_gb.`)
  }
  const kept = await copiesByUse(operation, scope)
  let gib = kept.reduce((sum, copy) => sum + sizeOf(copy), 0)
  for (let count = kept.length; count > 0; count -= 1) {
    const fits = imageCacheGib === 0 || gib + sizeGib <= imageCacheGib
    if (fits && (imageCacheCount === 0 || count < imageCacheCount)) return
    const oldest = kept.shift()
    if (oldest === undefined) return
    await removeAppInstance(scope, oldest, operation.edf)
    gib -= sizeOf(oldest)
    operation.log.info({ name: oldest.name }, 'a copy of an image made room for another')
  }
}

/** Least recently used first. */
async function copiesByUse(operation: Operation, scope: EdfScope): Promise<AppInstance[]> {
  const copies: { copy: AppInstance; used: string }[] = []
  for await (const copy of scope.appInstances.iterate({ filter: 'match(name,OS-.*)' }, operation.edf)) {
    if (!copy.descr?.startsWith(cachedImageDescription)) continue
    const { last_used: used } = await scope.metadata(copy, operation.edf)
    copies.push({ copy, used: String(used ?? '') })
  }
  return copies.sort((a, b) => (a.used < b.used ? -1 : 1)).map(({ copy }) => copy)
}

function sizeOf(appInstance: AppInstance): number {
  return appInstance.storage_instances[0]?.volumes[0]?.size ?? 0
}
