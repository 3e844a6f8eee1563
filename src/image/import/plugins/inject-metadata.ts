import { requireRow } from '../../images/queries.ts'
import { writeProperty } from '../bookkeeping.ts'
import { rememberBefore } from '../state.ts'
import type { PluginRun } from './run.ts'

/** Gives images of ordinary users the configured properties. @see image-api specification 4.7 */
export async function injectMetadata({ environment, payload, staged, job }: PluginRun): Promise<string> {
  const { ignoredRoles, inject } = environment.imports.injection
  const ignored = ignoredRoles.map((role) => role.toLowerCase())
  if (payload.roles.some((role) => ignored.includes(role.toLowerCase()))) return staged
  const properties = Object.entries(inject).filter(([name]) => !name.startsWith('os_glance'))
  if (properties.length === 0) return staged
  await rememberBefore(environment, job, payload.imageId)
  await environment.db.transaction().execute(async (transaction) => {
    await requireRow(transaction, payload.imageId, { lock: true })
    for (const [name, value] of properties) await writeProperty(transaction, payload.imageId, name, value)
  })
  return staged
}
