import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBytes, ScsiError } from '@emberglass/iscsi/device'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'
import { smallDisk } from './store/testing-disk.ts'
import { NodeUnderTest, volumePathOf } from './testing.ts'

const cancel = { signal: new AbortController().signal }
const mib = 1024 * 1024

const isSpaceExhausted = (error: unknown) =>
  error instanceof ScsiError && error.senseKey === 7 && error.asc === 0x27 && error.ascq === 7

test('a full data directory refuses writes and creations, loses nothing, and serves again without a restart', async (t) => {
  const small = smallDisk(t)
  if (small === undefined) return
  const edf = await NodeUnderTest.start(t, { directory: join(small.path, 'node') })
  const ai = await edf.createVolume('data', 1, { access_control_mode: 'allow_all' })
  const [si] = ai.storage_instances
  const [host = '', port] = si.access.portals[0].split(':')
  await using disk = await openIscsiDisk(
    {
      portals: [{ host, port: Number(port) }],
      targetName: si.access.iqn,
      lun: 0,
      initiatorName: 'iqn.2001-04.com.example:host',
    },
    cancel,
  )
  await disk.write(0, Buffer.alloc(mib, 1), cancel)
  await disk.flush(cancel)

  // Below the reserve: nothing new is written, what is there can be.
  small.empty(200 * mib)
  await assert.rejects(async () => disk.write(700 * mib, Buffer.alloc(65 * mib, 2), cancel), isSpaceExhausted)
  await disk.write(4096, Buffer.alloc(4096, 3), cancel)
  await disk.flush(cancel)
  await edf.createVolume('thin')

  small.fill()
  await assert.rejects(async () => disk.write(900 * mib, Buffer.alloc(mib, 2), cancel), isSpaceExhausted)
  const { message } = await edf.refused(400, 'InvalidRequestError', 'POST', '/app_instances', {
    name: 'refused',
    storage_instances: [{ name: 'storage-1', volumes: [{ name: 'volume-1', size: 1 }] }],
  })
  assert.match(message, /not enough space/)
  await edf.refused(400, 'InvalidRequestError', 'POST', `${volumePathOf(ai)}/snapshots`, {})
  await disk.write(8192, Buffer.alloc(4096, 4), cancel)

  small.empty()
  await edf.createVolume('refused')
  await edf.ok('POST', `${volumePathOf(ai)}/snapshots`, {})
  await disk.write(900 * mib, Buffer.alloc(mib, 5), cancel)
  await disk.flush(cancel)
  const start = Buffer.from(await readBytes(disk, 0, mib, cancel))
  assert.deepEqual(
    [0, 4096, 8192, 12288].map((at) => start[at]),
    [1, 3, 4, 1],
  )
  assert.equal((await readBytes(disk, 900 * mib, mib, cancel))[mib - 1], 5)
  const names = (await edf.ok('GET', '/app_instances')).map(({ name }: { name: string }) => name)
  assert.deepEqual(names, ['data', 'thin', 'refused'])
})
