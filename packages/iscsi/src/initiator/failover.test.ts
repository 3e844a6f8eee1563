import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { IscsiServer } from '../target/server.ts'
import { startCuttingProxy } from './cutting-proxy.fixture.ts'
import { openIscsiDisk } from './disk.ts'

const cancel = { signal: new AbortController().signal }
const targetName = 'iqn.2026-01.test:paths'
const initiatorName = 'iqn.2026-01.test:me'
const MiB = 1024 * 1024

for (const portalGroupTag of [1, 2]) {
  test(`a portal of group ${portalGroupTag} takes over in the middle of a transfer`, async () => {
    await using server = new IscsiServer()
    const target = server.addTarget({ name: targetName, access: { initiators: [initiatorName] } })
    const device = new MemoryDevice(32 * MiB)
    target.addLun(0, { device, serial: 'paths' })
    const first = await server.listen({ host: '127.0.0.1', port: 0 })
    const second = await server.listen({ host: '127.0.0.1', port: 0, portalGroupTag })
    const proxy = await startCuttingProxy(first.port, 7 * MiB + 4321, 1)
    const portals = [{ host: '127.0.0.1', port: proxy.port }, second]
    await using disk = await openIscsiDisk(
      { portals, targetName, lun: 0, initiatorName, timeoutMs: 60_000, headerDigest: true, dataDigest: true },
      cancel,
    )
    try {
      const data = Buffer.alloc(32 * MiB)
      for (let at = 0; at < data.byteLength; at += 4) data.writeUInt32LE((at * 2654435761) >>> 0, at)
      assert.equal(disk.portal?.port, proxy.port)
      await disk.write(0, data, cancel)
      assert.equal(disk.portal?.port, second.port)
      assert.equal(disk.reconnects, 1)
      await disk.flush(cancel)
      const back = Buffer.alloc(32 * MiB)
      await disk.read(0, back, cancel)
      assert.ok(back.equals(data))
    } finally {
      await proxy[Symbol.asyncDispose]()
    }
  })
}
