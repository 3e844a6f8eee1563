import { tenantOf } from '@emberglass/edf'
import { type Operation, scopeOf } from './operation.ts'

/**
 * Takes our own initiator from volumes where a process that was killed has left it, so that they go offline again
 * as if it had closed them.
 */
export async function takeBackLeftovers(operation: Operation): Promise<void> {
  for (const tenant of await tenantsOf(operation)) {
    const filter = 'match(name,OS-.*)'
    for await (const appInstance of scopeOf(operation, tenant).appInstances.iterate(
      { filter },
      operation.edf,
    )) {
      if (appInstance.name.startsWith('OS-IMAGE-')) continue
      if (await operation.array.disks.releaseLeftover(tenant, appInstance, operation.edf)) {
        operation.log.info({ name: appInstance.name }, 'took our own initiator back from a volume')
      }
    }
  }
}

/** Every tenant that volumes of this backend may lie in. */
export async function tenantsOf(operation: Operation): Promise<readonly (string | undefined)[]> {
  const rule = operation.checked.tenant
  if (rule.kind !== 'map') return [tenantOf(rule, '')]
  const all = await scopeOf(operation, '/root').tenants.list({}, operation.edf)
  return all.map(({ path }) => path).filter((path) => path.startsWith('/root/OS-'))
}
