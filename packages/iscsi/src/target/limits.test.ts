import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { openIscsiDisk } from '../initiator/disk.ts'
import { IscsiServer } from './server.ts'

const cancel = { signal: new AbortController().signal }
const targetName = 'iqn.2026-01.test:limits'
const seconds = 2

/** Reads or writes for two seconds, eight at a time. @returns commands per second */
async function measure(command: (index: number) => Promise<void>): Promise<number> {
  const end = performance.now() + seconds * 1000
  let done = 0
  const worker = async (): Promise<void> => {
    while (performance.now() < end) {
      await command(done)
      if (performance.now() <= end) done += 1
    }
  }
  await Promise.all(Array.from({ length: 8 }, worker))
  return done / seconds
}

/** Never more than 5 % above; what a busy machine keeps this client from asking for is no fault of the limit. */
function kept(found: number, wanted: number, what: string): void {
  assert.ok(found <= wanted * 1.05 && found >= wanted * 0.85, `${what}: ${found} instead of ${wanted}`)
}

test('a LUN keeps to its limits, which change while it is used', async () => {
  await using server = new IscsiServer()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const target = server.addTarget({ name: targetName, access: { initiators: 'any' } })
  const device = new MemoryDevice(8 * 1048576)
  target.addLun(0, { device, serial: 'limited', limits: { readIops: 400 } })
  const options = { portals: [{ host: '127.0.0.1', port }], targetName, lun: 0 }
  await using disk = await openIscsiDisk({ ...options, initiatorName: 'iqn.2026-01.test:me' }, cancel)
  const read = (bytes: number) => measure((i) => disk.read((i % 8) * bytes, Buffer.alloc(bytes), cancel))
  const write = (bytes: number) => measure((i) => disk.write((i % 8) * bytes, Buffer.alloc(bytes, i), cancel))
  kept(await read(4096), 400, 'reads')
  target.setLimits(0, { totalBytesPerSecond: 20 * 65536 })
  kept(await write(65536), 20, 'writes of 64 KiB')
  target.setLimits(0, {})
  assert.ok((await write(4096)) > 400, 'no limit')
})

test('a command that waits for its turn can be aborted, and the LUN removed', async () => {
  await using server = new IscsiServer()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  const target = server.addTarget({ name: targetName, access: { initiators: 'any' } })
  target.addLun(0, { device: new MemoryDevice(1048576), serial: 'limited', limits: { totalIops: 0.01 } })
  const options = { portals: [{ host: '127.0.0.1', port }], targetName, lun: 0 }
  await using disk = await openIscsiDisk({ ...options, initiatorName: 'iqn.2026-01.test:me' }, cancel)
  const patience = { signal: AbortSignal.timeout(50) }
  await assert.rejects(disk.write(0, Buffer.alloc(4096), patience), { name: 'TimeoutError' })
  const controller = new AbortController()
  const waiting = disk.read(0, Buffer.alloc(4096), controller)
  await target.removeLun(0)
  assert.deepEqual(target.lunNumbers(), [])
  controller.abort(new Error('not waited for'))
  await assert.rejects(waiting, /not waited for/)
})
