// Serves a raw file as LUN 0 of a target, until Ctrl-C: node serve-file.ts <file> [port]
import { FileDevice, IscsiServer } from '@emberglass/iscsi'

const [file, port = '3260'] = process.argv.slice(2)
if (file === undefined) throw new Error('usage: serve-file.ts <file> [port]')

await using device = await FileDevice.open(file, 'rw')
await using server = new IscsiServer()
const target = server.addTarget({
  name: 'iqn.2001-04.com.example:disk',
  access: { initiators: ['iqn.2001-04.com.example:host'] },
})
target.addLun(0, { device, serial: 'example-1' })
const portal = await server.listen({ host: '127.0.0.1', port: Number(port) })
console.log(`${target.name} listens on ${portal.host}:${portal.port}`)

await new Promise((resolve) => process.once('SIGINT', resolve).once('SIGTERM', resolve))
