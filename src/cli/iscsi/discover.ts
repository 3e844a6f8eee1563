import { discoverTargets } from '@emberglass/iscsi/initiator'
import { type ConnectOptions, withSignal } from './connect.ts'
import { parsePortalUrl } from './url.ts'

/** Prints the targets that a portal shows this initiator, one line for each of their portals. */
export async function discover(url: string, options: ConnectOptions): Promise<void> {
  const { portal, chap } = parsePortalUrl(url, process.env)
  const { initiatorName, timeoutSeconds } = options
  const identity = {
    initiatorName,
    timeoutMs: timeoutSeconds * 1000,
    ...(chap === undefined ? {} : { chap }),
  }
  const targets = await withSignal((signal) => discoverTargets(portal, identity, { signal }))
  if (targets.length === 0) process.stderr.write('no targets for this initiator\n')
  for (const { name, portals } of targets) {
    for (const { host, port, groupTag = 1 } of portals) {
      const address = host.includes(':') ? `[${host}]` : host
      process.stdout.write(`${address}:${port},${groupTag} ${name}\n`)
    }
  }
}
