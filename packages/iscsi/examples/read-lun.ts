// Copies LUN 0 of a target into a file: node read-lun.ts <host:port> <target name> <file>
import { createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'
import { openIscsiDisk, parsePortal, readStream } from '@emberglass/iscsi'

const [address = '', targetName = '', file = ''] = process.argv.slice(2)
const portal = parsePortal(address)
if (portal === undefined) throw new Error('usage: read-lun.ts <host:port> <target name> <file>')

const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
const initiatorName = 'iqn.2001-04.com.example:host'
await using disk = await openIscsiDisk({ portals: [portal], targetName, lun: 0, initiatorName }, stop)
console.log(`${disk.identity.vendor} ${disk.identity.product}, ${disk.sizeBytes} bytes`)
await pipeline(readStream(disk, 0, disk.sizeBytes, {}, stop), createWriteStream(file))
