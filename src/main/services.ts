import { Misconfigured } from '../kernel/errors.ts'

/** What one process can run of Emberglass, as `emberglass serve --only` names it. */
export const serviceNames = ['identity', 'block-storage', 'image'] as const

export type ServiceName = (typeof serviceNames)[number]

/**
 * Reads a list such as `block-storage,image`.
 * @returns every service for undefined
 * @throws Misconfigured for a name that is none, and for an empty list
 */
export function servicesNamed(text: string | undefined): ReadonlySet<ServiceName> {
  if (text === undefined) return new Set(serviceNames)
  const names = text.split(',').map((name) => name.trim())
  const services = new Set<ServiceName>()
  for (const name of names) {
    const service = serviceNames.find((candidate) => candidate === name)
    if (service === undefined) {
      throw new Misconfigured(`--only takes a list of ${serviceNames.join(', ')}; "${name}" is none of them.`)
    }
    services.add(service)
  }
  return services
}
