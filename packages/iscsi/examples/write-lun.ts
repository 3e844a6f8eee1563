// Copies a raw file onto LUN 0 of a target: node write-lun.ts <file> <host:port> <target name>
import { copyDevice, FileDevice, openIscsiDisk, parsePortal } from '@emberglass/iscsi'

const [file = '', address = '', targetName = ''] = process.argv.slice(2)
const portal = parsePortal(address)
if (portal === undefined) throw new Error('usage: write-lun.ts <file> <host:port> <target name>')

const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
const initiatorName = 'iqn.2001-04.com.example:host'
await using source = await FileDevice.open(file, 'r')
await using disk = await openIscsiDisk({ portals: [portal], targetName, lun: 0, initiatorName }, stop)
const onProgress = (done: number, total: number) => process.stderr.write(`\r${done} of ${total} bytes`)
const { copiedBytes, skippedBytes } = await copyDevice(source, disk, { skipZeroes: true, onProgress }, stop)
console.log(`${copiedBytes} bytes sent, ${skippedBytes} bytes of zeroes not sent`)
