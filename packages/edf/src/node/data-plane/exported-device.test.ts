import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type BlockDevice, type Cancel, type Done, MemoryDevice } from '@emberglass/iscsi/device'
import { VolumeMeter } from '../metering/meters.ts'
import { NoSpaceError } from '../store/errors.ts'
import { ExportedDevice } from './exported-device.ts'

const cancel: Cancel = { signal: new AbortController().signal }

/** A device whose writes wait until the test lets them go on. */
class SlowDevice extends MemoryDevice {
  readonly waiting: PromiseWithResolvers<void>[] = []
  closed = 0

  override write(offset: number, data: Uint8Array, by: Cancel): Done {
    const gate = Promise.withResolvers<void>()
    this.waiting.push(gate)
    return gate.promise.then(() => super.write(offset, data, by))
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    this.closed++
  }
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

test('the volume is opened at the first use and not before', async () => {
  let opened = 0
  const meter = new VolumeMeter()
  const open = async () => {
    opened++
    return new MemoryDevice(4096)
  }
  const device = new ExportedDevice(4096, open, meter)
  assert.equal(device.sizeBytes, 4096)
  await device.flush(cancel)
  assert.equal(opened, 0)
  const into = new Uint8Array(512)
  await Promise.all([device.read(0, into, cancel), device.write(512, into, cancel)])
  assert.equal(opened, 1)
  assert.equal(device.read(0, into, cancel), undefined)
  const { read, write } = meter.total
  assert.deepEqual([read.operations, read.bytes, write.operations], [2, 1024, 1])
})

test('freezing waits for what is under way and holds what comes after until the thaw', async () => {
  const slow = new SlowDevice(4096)
  const device = new ExportedDevice(4096, async () => slow)
  await device.read(0, new Uint8Array(512), cancel)
  const first = device.write(0, new Uint8Array(512), cancel)
  let frozen = false
  const freezing = device.freeze().then(() => {
    frozen = true
  })
  const second = Promise.resolve(device.write(512, new Uint8Array(512), cancel))
  await turn()
  assert.deepEqual([frozen, slow.waiting.length], [false, 1])
  slow.waiting[0]?.resolve()
  await first
  await freezing
  await turn()
  assert.equal(slow.waiting.length, 1)
  device.thaw()
  await turn()
  assert.equal(slow.waiting.length, 2)
  slow.waiting[1]?.resolve()
  await second
})

test('an idle volume is given back and opened again; after the close everything is refused', async () => {
  const opened: SlowDevice[] = []
  const device = new ExportedDevice(4096, async () => {
    const volume = new SlowDevice(4096)
    opened.push(volume)
    return volume
  })
  await device.read(0, new Uint8Array(512), cancel)
  await device.closeIdle(60_000)
  assert.equal(opened[0]?.closed, 0)
  await device.closeIdle(0)
  assert.equal(opened[0]?.closed, 1)
  await device.read(0, new Uint8Array(512), cancel)
  assert.equal(opened.length, 2)
  await device.close()
  assert.equal(opened[1]?.closed, 1)
  await assert.rejects(Promise.resolve(device.read(0, new Uint8Array(512), cancel)), /no longer exported/)
})

test('a volume that cannot be opened fails the call, and the next one tries again', async () => {
  let tries = 0
  const device = new ExportedDevice(4096, async () => {
    if (tries++ === 0) throw new Error('not now')
    return new MemoryDevice(4096)
  })
  await assert.rejects(Promise.resolve(device.read(0, new Uint8Array(512), cancel)), /not now/)
  await device.read(0, new Uint8Array(512), cancel)
})

test('a full store is the error that the target knows', async () => {
  const full: BlockDevice = Object.assign(new MemoryDevice(4096), {
    write: (): Done => {
      throw new NoSpaceError('full')
    },
  })
  const device = new ExportedDevice(4096, async () => full)
  await device.read(0, new Uint8Array(512), cancel)
  assert.throws(() => device.write(0, new Uint8Array(512), cancel), { code: 'ENOSPC' })
})
