import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryDevice } from '../block-device.ts'
import { IscsiServer } from '../target/server.ts'
import { openIscsiDisk } from './disk.ts'

const targetName = 'iqn.2026-01.test:restarted'
const initiatorName = 'iqn.2026-01.test:initiator'
const cancel = { signal: AbortSignal.timeout(20_000) }

async function serve(device: MemoryDevice, port: number): Promise<IscsiServer & { port: number }> {
  const server = new IscsiServer()
  const bound = await server.listen({ host: '127.0.0.1', port })
  const target = server.addTarget({ name: targetName, access: { initiators: [initiatorName] } })
  target.addLun(0, { device, serial: 'restarted' })
  return Object.assign(server, { port: bound.port })
}

const open = (port: number) =>
  openIscsiDisk({ portals: [{ host: '127.0.0.1', port }], targetName, lun: 0, initiatorName }, cancel)

test('a target that is started anew under unflushed writes is an error, not a silent loss', async () => {
  const device = new MemoryDevice(1024 * 1024)
  const first = await serve(device, 0)
  await using disk = await open(first.port)
  await disk.write(0, new Uint8Array(4096).fill(1), cancel)
  await first.close()
  await using _second = await serve(device, first.port)
  await assert.rejects(disk.flush(cancel), /not flushed may be lost/)
})

test('a target that is started anew when everything was flushed is gone on with', async () => {
  const device = new MemoryDevice(1024 * 1024)
  const first = await serve(device, 0)
  await using disk = await open(first.port)
  await disk.write(0, new Uint8Array(4096).fill(1), cancel)
  await disk.flush(cancel)
  await first.close()
  await using _second = await serve(device, first.port)
  const into = new Uint8Array(4096)
  await disk.read(0, into, cancel)
  assert.ok(into.every((byte) => byte === 1))
  await disk.write(4096, into, cancel)
  await disk.flush(cancel)
  assert.equal(disk.reconnects, 1)
})
