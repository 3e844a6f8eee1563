// A target that asks for CHAP and proves itself in return; one login with the right secrets, one without.
import { subscribe } from 'node:diagnostics_channel'
import { IscsiError, IscsiServer, MemoryDevice, openIscsiDisk } from '@emberglass/iscsi'

subscribe('iscsi:target:login', (event) => console.log('login', event))
subscribe('iscsi:target:refused', (event) => console.log('refused', event))

const chap = {
  username: 'host',
  password: 'what the host knows',
  mutual: { username: 'target', password: 'what the target knows' },
}
await using server = new IscsiServer()
const name = 'iqn.2001-04.com.example:secret'
const target = server.addTarget({ name, access: { initiators: 'any', chap } })
target.addLun(0, { device: new MemoryDevice(1024 * 1024), serial: 'example-2' })
const portal = await server.listen({ host: '127.0.0.1', port: 0 })

const cancel = { signal: AbortSignal.timeout(10_000) }
const initiatorName = 'iqn.2001-04.com.example:host'
const disk = { portals: [portal], targetName: name, lun: 0, initiatorName }
await using opened = await openIscsiDisk({ ...disk, chap }, cancel)
console.log(`logged in, ${opened.sizeBytes} bytes`)
try {
  await openIscsiDisk({ ...disk, chap: { username: 'host', password: 'not what it knows' } }, cancel)
} catch (error) {
  if (!(error instanceof IscsiError) || error.code !== 'authentication') throw error
  console.log(`not logged in: ${error.message}`)
}
