// Runs a storage node until Ctrl-C: node start-node.ts <directory> [http port] [https port] [iSCSI port]
import { startEdfNode } from '@emberglass/edf/node'

const [directory, http = '7717', https = '7718', iscsi = '3260'] = process.argv.slice(2)
if (directory === undefined) throw new Error('usage: start-node.ts <directory> [http] [https] [iSCSI]')

const node = await startEdfNode({
  directory,
  host: '127.0.0.1',
  httpPort: Number(http),
  httpsPort: Number(https),
  iscsi: { host: '127.0.0.1', port: Number(iscsi) },
})
console.log(`REST at ${node.httpUrl} and ${node.httpsUrl}, iSCSI at ${node.iscsiPortal}`)
console.log(`log in as ${node.login}, with the password in ${directory}/admin-password`)

await new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
await node.close()
