import assert from 'node:assert/strict'
import { mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { IscsiError, readBytes, ScsiError } from '@emberglass/iscsi/device'
import { openIscsiDisk } from '@emberglass/iscsi/initiator'
import { type Json, NodeUnderTest } from './testing.ts'

const cancel = { signal: new AbortController().signal }
const mib = 1024 * 1024

interface Bed {
  readonly directory: string
  /** Two of flash, one hdd. */
  readonly media: readonly { readonly path: string; readonly media: 'flash' | 'hdd' }[]
}

async function bed(t: TestContext): Promise<Bed> {
  const root = await mkdtemp(join(tmpdir(), 'replicas-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const media = (['flash', 'flash', 'hdd'] as const).map((kind, at) => ({
    path: join(root, `m${at}`),
    media: kind,
  }))
  return { directory: join(root, 'node'), media }
}

async function volume(edf: NodeUnderTest, name: string, attributes: Json = {}): Promise<Json> {
  const volumes = [{ name: 'volume-1', size: 1, replica_count: 2, ...attributes }]
  const storage_instances = [{ name: 'storage-1', volumes }]
  return await edf.ok('POST', '/app_instances', { name, access_control_mode: 'allow_all', storage_instances })
}

function diskOf(ai: Json) {
  const [si] = ai.storage_instances
  const [portal = ''] = si.access.portals
  const [host = '', port] = portal.split(':')
  return openIscsiDisk(
    {
      portals: [{ host, port: Number(port) }],
      targetName: si.access.iqn,
      lun: 0,
      initiatorName: 'iqn.2001-04.com.example:host',
    },
    cancel,
  )
}

const pathOf = (ai: Json) => ai.storage_instances[0].volumes[0].path

/** Waits until a volume is what it should be; rebuilds take their time on a busy machine. */
async function until(edf: NodeUnderTest, path: string, isSo: (volume: Json) => boolean): Promise<Json> {
  const deadline = Date.now() + 60_000
  for (;;) {
    const found = await edf.ok('GET', path)
    if (isSo(found)) return found
    assert.ok(Date.now() < deadline, `${path} stays ${JSON.stringify(found)}`)
    await sleep(50)
  }
}

/** Which media hold data of a volume. */
async function holders({ media }: Bed): Promise<number[]> {
  const used = await Promise.all(
    media.map(async ({ path }) => {
      const layers = join(path, 'store', 'layers')
      const names = await readdir(layers).catch(() => [])
      const sizes = await Promise.all(
        names.map(async (name) => (await stat(join(layers, name)).catch(() => undefined))?.size ?? 0),
      )
      return sizes.some((size) => size > 0)
    }),
  )
  return used.flatMap((isUsed, at) => (isUsed ? [at] : []))
}

async function flip(directory: string): Promise<void> {
  const layers = join(directory, 'store', 'layers')
  const [name = ''] = (await readdir(layers)).filter((file) => file.endsWith('.data'))
  await using file = await open(join(layers, name), 'r+')
  await file.write(Buffer.from('flipped'), 0, 7, 4096 + 100)
}

test('copies lie where the placement says, and the system counts each kind', async (t) => {
  const it = await bed(t)
  const edf = await NodeUnderTest.start(t, { directory: it.directory, dataDirectories: it.media })
  for (const [name, placement, count, expected] of [
    ['all-flash', { placement_policy: { path: '/placement_policies/all-flash' } }, 2, [0, 1]],
    ['single_flash', { placement_mode: 'single_flash' }, 1, undefined],
    ['hybrid', { placement_mode: 'hybrid' }, 1, [2]],
  ] as const) {
    const ai = await volume(edf, name, { ...placement, replica_count: count })
    assert.deepEqual([ai.health, ai.causes], ['ok', []])
    await using disk = await diskOf(ai)
    await disk.write(0, Buffer.alloc(mib, 1), cancel)
    await disk.flush(cancel)
    if (expected !== undefined) {
      const found = await holders(it)
      assert.ok(
        expected.every((at) => found.includes(at)),
        `${name}: ${found}`,
      )
    }
  }
  const crowded = await volume(edf, 'crowded', { replica_count: 5 })
  assert.deepEqual(
    [crowded.health, crowded.storage_instances[0].volumes[0].storage_state],
    ['warning', 'replicas_degraded'],
  )
  const system = await edf.ok('GET', '/system')
  assert.equal(system.health, 'warning')
  assert.ok(system.all_flash_total_capacity > 0 && system.all_flash_total_capacity <= system.total_capacity)
  const [node] = await edf.ok('GET', '/storage_nodes')
  assert.deepEqual([node.flash_devices.length, node.hdds.length], [2, 1])
})

test('a directory that goes under I/O costs nothing, and is built again when it is back', async (t) => {
  const it = await bed(t)
  const edf = await NodeUnderTest.start(t, { directory: it.directory, dataDirectories: it.media.slice(0, 2) })
  const ai = await volume(edf, 'busy')
  const path = pathOf(ai)
  await using disk = await diskOf(ai)
  await disk.write(0, Buffer.alloc(4 * mib, 1), cancel)
  await edf.ok('POST', `${path}/snapshots`, {})
  await disk.write(2 * mib, Buffer.alloc(mib, 2), cancel)
  const lost = it.media[0]?.path ?? ''
  await rename(lost, `${lost}-away`)
  let writes = 0
  const degraded = until(edf, path, ({ storage_state }) => storage_state === 'replicas_degraded')
  let isDegraded = false
  void degraded.then(() => (isDegraded = true))
  while (!isDegraded) {
    await disk.write(6 * mib + (writes % 8) * 4096, Buffer.alloc(4096, 3), cancel)
    writes++
    await sleep(5)
  }
  assert.match((await degraded).causes.join(), /1 of 2 copies/)
  await disk.write(3 * mib, Buffer.alloc(mib, 4), cancel)
  await disk.flush(cancel)
  await edf.ok('POST', `${path}/snapshots`, {})
  await rename(`${lost}-away`, lost)
  const whole = await until(edf, path, ({ health }) => health === 'ok')
  assert.equal(whole.storage_state, '')
  // Now the other one goes: everything has to be on the one that came back.
  const other = it.media[1]?.path ?? ''
  await rename(other, `${other}-away`)
  await until(edf, path, ({ storage_state }) => storage_state === 'replicas_degraded')
  const bytes = await readBytes(disk, 0, 7 * mib, cancel)
  const values = [0, 1, 2, 3, 6].map((at) => bytes[at * mib + 100])
  assert.deepEqual(values, [1, 1, 2, 4, 3])
  const snapshots = await edf.ok('GET', `${path}/snapshots`)
  assert.equal(snapshots.length, 2)
  for (const [at, expected] of [
    [0, [1, 1, 1, 1, 0]],
    [1, [1, 1, 2, 4, 3]],
  ] as const) {
    const clone = await edf.ok('POST', '/app_instances', {
      name: `clone-${at}`,
      clone_snapshot_src: { path: snapshots[at].path },
      access_control_mode: 'allow_all',
    })
    await using copy = await diskOf(clone)
    const content = await readBytes(copy, 0, 7 * mib, cancel)
    assert.deepEqual(
      [0, 1, 2, 3, 6].map((mark) => content[mark * mib + 100]),
      expected,
    )
  }
})

test('while no copy can be reached I/O gets medium errors and REST 503; when one is back the same session goes on', async (t) => {
  const it = await bed(t)
  const edf = await NodeUnderTest.start(t, { directory: it.directory, dataDirectories: it.media.slice(1) })
  const ai = await volume(edf, 'alone', { replica_count: 1 })
  const path = pathOf(ai)
  await using disk = await diskOf(ai)
  await disk.write(0, Buffer.alloc(mib, 1), cancel)
  await disk.flush(cancel)
  const [at = 0] = await holders(it)
  const lost = it.media[at]?.path ?? ''
  await rename(lost, `${lost}-away`)
  const gone = await until(edf, path, ({ op_state }) => op_state === 'unavailable')
  assert.equal(gone.health, 'critical')
  const alert = (wanted: string, isCleared: boolean) =>
    until(edf, '/alerts', (alerts) =>
      alerts.some(({ code, cleared }: Json) => code === wanted && cleared === isCleared),
    )
  await alert('MEDIUM_FAILED', false)
  await alert('REPLICAS_DEGRADED', false)
  const isMediumError = (asc: number) => (error: unknown) =>
    error instanceof ScsiError && error.senseKey === 3 && error.asc === asc
  await assert.rejects(readBytes(disk, 0, 4096, cancel), isMediumError(0x11))
  await assert.rejects(async () => disk.write(0, Buffer.alloc(4096), cancel), isMediumError(0x0c))
  await edf.refused(503, 'NotConnectedError', 'POST', `${path}/snapshots`, {})
  const clone = { name: 'clone', clone_volume_src: { path } }
  await edf.refused(503, 'NotConnectedError', 'POST', '/app_instances', clone)
  assert.equal((await volume(edf, 'elsewhere', { replica_count: 1 })).health, 'ok')
  await rename(`${lost}-away`, lost)
  await until(edf, path, ({ health }) => health === 'ok')
  await alert('MEDIUM_FAILED', true)
  assert.equal((await readBytes(disk, mib - 4096, 4096, cancel))[0], 1)
  await disk.write(0, Buffer.alloc(4096, 2), cancel)
  await edf.ok('POST', '/app_instances', clone)
})

test('more copies are built at run time, on a new directory too, and fewer are removed', async (t) => {
  const it = await bed(t)
  const ai = await (async () => {
    const edf = await NodeUnderTest.start(t, {
      directory: it.directory,
      dataDirectories: it.media.slice(0, 1),
    })
    const made = await volume(edf, 'grows')
    assert.equal(made.health, 'warning')
    await using disk = await diskOf(made)
    await disk.write(mib, Buffer.alloc(mib, 9), cancel)
    await disk.flush(cancel)
    await disk[Symbol.asyncDispose]()
    await edf.node.close()
    return made
  })()
  const edf = await NodeUnderTest.start(t, { directory: it.directory, dataDirectories: it.media })
  const path = pathOf(ai)
  await until(edf, path, ({ health }) => health === 'ok')
  await edf.ok('PUT', path, { replica_count: 3 })
  await until(edf, path, ({ health }) => health === 'ok')
  assert.deepEqual(await holders(it), [0, 1, 2])
  await edf.ok('PUT', path, { replica_count: 1, placement_mode: 'all_flash' })
  for (let tries = 0; (await holders(it)).length > 1; tries++) {
    assert.ok(tries < 600, 'the copies stay')
    await sleep(50)
  }
  await using disk = await diskOf(await edf.ok('GET', ai.path))
  assert.equal((await readBytes(disk, mib, 4096, cancel))[0], 9)
})

test('a flipped bit is repaired from another copy; without one the initiator gets a medium error, and the array an alert', async (t) => {
  const it = await bed(t)
  const content = Buffer.alloc(16 * 4096, 5)
  const made = await (async () => {
    const edf = await NodeUnderTest.start(t, {
      directory: it.directory,
      dataDirectories: it.media.slice(0, 2),
    })
    const ai = await volume(edf, 'twice')
    await using disk = await diskOf(ai)
    await disk.write(0, content, cancel)
    await disk.flush(cancel)
    await disk[Symbol.asyncDispose]()
    await edf.node.close()
    return ai
  })()
  await flip(it.media[0]?.path ?? '')
  await flip(it.media[1]?.path ?? '')
  const edf = await NodeUnderTest.start(t, { directory: it.directory, dataDirectories: it.media.slice(0, 2) })
  {
    await using disk = await diskOf(await edf.ok('GET', made.path))
    const refused = readBytes(disk, 0, content.byteLength, cancel)
    await assert.rejects(refused, (error: unknown) => {
      assert.ok(error instanceof ScsiError || error instanceof IscsiError)
      return 'senseKey' in error ? error.senseKey === 3 && 'asc' in error && error.asc === 0x11 : false
    })
    assert.equal((await readBytes(disk, 8192, 4096, cancel))[0], 5)
    await disk.write(4096, content.subarray(0, 4096), cancel)
    await disk.flush(cancel)
  }
  const alerts = await edf.ok('GET', '/alerts')
  const [damage] = alerts.filter(({ code }: Json) => code === 'VOLUME_DATA_DAMAGED')
  assert.equal(damage?.object_path, pathOf(made))
  assert.match(damage.description, /byte 4096/)
  await edf.node.close()
  await flip(it.media[0]?.path ?? '')
  const again = await NodeUnderTest.start(t, {
    directory: it.directory,
    dataDirectories: it.media.slice(0, 2),
  })
  await using disk = await diskOf(await again.ok('GET', made.path))
  assert.deepEqual(Buffer.from(await readBytes(disk, 0, content.byteLength, cancel)), content)
  assert.equal((await again.ok('GET', pathOf(made))).health, 'ok')
  await sleep(1500)
  const events = await again.ok('GET', '/events/system')
  assert.ok(events.some(({ code }: Json) => code === 'VOLUME_DATA_REPAIRED'))
})

test('data from before there were data directories stay, and get their copies', async (t) => {
  const it = await bed(t)
  await mkdir(it.directory, { recursive: true })
  const ai = await (async () => {
    const edf = await NodeUnderTest.start(t, { directory: it.directory })
    const made = await volume(edf, 'old')
    await using disk = await diskOf(made)
    await disk.write(0, Buffer.alloc(mib, 7), cancel)
    await disk.flush(cancel)
    await disk[Symbol.asyncDispose]()
    await edf.node.close()
    return made
  })()
  const edf = await NodeUnderTest.start(t, { directory: it.directory, dataDirectories: it.media.slice(2) })
  await until(edf, pathOf(ai), ({ health }) => health === 'ok')
  assert.deepEqual(await holders(it), [2])
})

test('a check while the node serves finds flipped bits nobody has read, and has them repaired', async (t) => {
  const it = await bed(t)
  const content = Buffer.alloc(16 * 4096, 6)
  const options = { directory: it.directory, dataDirectories: it.media.slice(0, 2) }
  const made = await (async () => {
    const edf = await NodeUnderTest.start(t, options)
    const ai = await volume(edf, 'checked')
    await using disk = await diskOf(ai)
    await disk.write(0, content, cancel)
    await disk.flush(cancel)
    await disk[Symbol.asyncDispose]()
    await edf.node.close()
    return ai
  })()
  await flip(it.media[1]?.path ?? '')
  const edf = await NodeUnderTest.start(t, options)
  const [node] = await edf.ok('GET', '/storage_nodes')
  const check = async (): Promise<Json[]> => {
    await edf.ok('POST', `${node.path}/checks`, {})
    for (let tries = 0; tries < 600; tries++) {
      const states = await edf.ok('GET', `${node.path}/checks`)
      if (states.every(({ finishedAt }: Json) => finishedAt !== undefined)) return states
      await sleep(50)
    }
    assert.fail('the check does not end')
  }
  const found = await check()
  assert.deepEqual(
    found.map(({ bytesRead, damagedBlocks, problems }) => [bytesRead, damagedBlocks, problems]),
    [
      [content.byteLength, 0, []],
      [content.byteLength, 1, []],
    ],
  )
  assert.deepEqual(
    (await check()).map(({ damagedBlocks }) => damagedBlocks),
    [0, 0],
  )
  await using disk = await diskOf(await edf.ok('GET', made.path))
  assert.deepEqual(Buffer.from(await readBytes(disk, 0, content.byteLength, cancel)), content)
})
