// Lists the targets of a portal that this initiator may see: node discover.ts <host:port>
import { discoverTargets, parsePortal } from '@emberglass/iscsi'

const portal = parsePortal(process.argv[2] ?? '')
if (portal === undefined) throw new Error('usage: discover.ts <host:port>')

const initiatorName = 'iqn.2001-04.com.example:host'
const targets = await discoverTargets(portal, { initiatorName }, { signal: AbortSignal.timeout(10_000) })
for (const { name, portals } of targets) {
  console.log(name, portals.map(({ host, port }) => `${host}:${port}`).join(' '))
}
