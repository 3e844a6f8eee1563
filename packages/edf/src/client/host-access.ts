import type { AppInstance } from '../schemas/app-instance.ts'
import { bringOnline, isInUse, takeOfflineIfUnused, untilExported } from './app-instances.ts'
import { absentIfNotFound } from './collection.ts'
import type { EdfClient } from './edf-client.ts'
import type { EdfCall } from './exchange.ts'
import { Exclusive } from './exclusive.ts'
import type { Initiators } from './initiators.ts'

/** How long a storage instance may take to be exported. */
const exportLimitMs = 30_000

/**
 * Lets hosts reach app instances and shuts them out again. What belongs together is done under a lock per app
 * instance, within this process: an app instance goes offline only when nobody is on its ACLs, and nobody who has
 * just been admitted finds it offline. Hosts that are connected are never interrupted by others.
 */
export class HostAccess {
  readonly #client: EdfClient
  readonly #initiators: Initiators
  readonly #exclusive = new Exclusive()

  constructor(client: EdfClient, initiators: Initiators) {
    this.#client = client
    this.#initiators = initiators
  }

  /**
   * Puts a host on the ACL of every storage instance and waits until they are exported. Repeats safely; undoes what
   * it added when it fails.
   * @param prepare runs first, under the lock, when nobody is on an ACL: the moment to set pool and CHAP
   * @returns the app instance, online
   */
  async admit(
    tenant: string | undefined,
    appInstance: AppInstance,
    iqn: string,
    call: EdfCall,
    prepare?: (appInstance: AppInstance, unused: boolean) => Promise<void>,
  ): Promise<AppInstance> {
    const scope = this.#client.in(tenant)
    const key = `${tenant ?? ''} ${appInstance.path}`
    return await this.#exclusive.run(key, call.signal, async () => {
      const before = await scope.appInstances.get(appInstance.path, call)
      const added = before.storage_instances.filter((storageInstance) => !isListed(storageInstance, iqn))
      try {
        await prepare?.(before, !isInUse(before))
        for (const storageInstance of added) {
          await this.#initiators.admit(tenant, storageInstance, iqn, call)
        }
        await bringOnline(scope, before, call)
        const after = await scope.appInstances.get(appInstance.path, call)
        await Promise.all(
          after.storage_instances.map((storageInstance) =>
            untilExported(scope, storageInstance, exportLimitMs, call),
          ),
        )
        return after
      } catch (error) {
        const cleaning: EdfCall = { ...call, signal: AbortSignal.timeout(exportLimitMs) }
        await Promise.allSettled(added.map((storageInstance) => scope.expel(storageInstance, iqn, cleaning)))
        if (before.admin_state === 'offline') {
          await takeOfflineIfUnused(scope, appInstance, false, cleaning).catch(() => undefined)
        }
        throw error
      }
    })
  }

  /**
   * Takes a host, or everyone, from the ACLs; the app instance goes offline when nobody is left.
   * Not there, or nothing there: fine.
   * @param cut also when sessions are alive; without it, live sessions keep the app instance online
   */
  async expel(
    tenant: string | undefined,
    appInstancePath: string,
    who: string | 'everyone',
    cut: boolean,
    call: EdfCall,
  ): Promise<void> {
    const scope = this.#client.in(tenant)
    await this.#exclusive.run(`${tenant ?? ''} ${appInstancePath}`, call.signal, async () => {
      const before = await absentIfNotFound(scope.appInstances.get(appInstancePath, call))
      if (before === undefined) return
      for (const storageInstance of before.storage_instances) {
        if (who !== 'everyone') {
          if (isListed(storageInstance, who)) await scope.expel(storageInstance, who, call)
        } else if (isInUse({ ...before, storage_instances: [storageInstance] })) {
          const nobody = { initiators: [], initiator_groups: [] }
          await absentIfNotFound(scope.setAclPolicy(storageInstance, nobody, call))
        }
      }
      await takeOfflineIfUnused(scope, appInstancePath, cut, call)
    })
  }
}

/** Whether an initiator is on a storage instance's own list. */
export function isListed(storageInstance: AppInstance['storage_instances'][number], iqn: string): boolean {
  const listed = storageInstance.acl_policy?.initiators ?? []
  return listed.some(({ path }) => decodeURIComponent(path.slice(path.lastIndexOf('/') + 1)) === iqn)
}
