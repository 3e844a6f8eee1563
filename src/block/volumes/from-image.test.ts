import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBytes } from '@emberglass/iscsi/device'
import { GiB, MiB } from '../../kernel/bytes.ts'
import { sleep, uncancelled } from '../../kernel/call.ts'
import { onEachEngine, type TestEngine } from '../../kernel/db/testing.ts'
import { jobMigrations } from '../../kernel/jobs/migrations.ts'
import { blockMigrations } from '../db/migrations.ts'
import type { Tables } from '../db/tables.ts'
import { projects, startTestBlock, type TestBlock, TestImages } from '../testing.ts'
import type { BackendVolume } from '../volume-driver.ts'
import { MemoryVolumeDriver } from '../volume-drivers/memory.ts'

async function create(block: TestBlock, imageRef: string, size = 1): Promise<string> {
  const answer = await block.request('member', 'POST', '/volumes', { body: { volume: { size, imageRef } } })
  assert.equal(answer.status, 202, answer.text)
  return answer.body.volume.id
}

function factsOf(id: string): BackendVolume {
  const none = { type: undefined, providerLocation: undefined }
  return { id, name: id, sizeBytes: GiB, projectId: '', metadata: {}, ...none }
}

async function bytesOf(block: TestBlock, id: string, length: number): Promise<Buffer> {
  const call = uncancelled()
  await using device = await block.driver.open(factsOf(id), 'r', call)
  return Buffer.from(await readBytes(device, 0, length, call))
}

/** The sentence of the one message that a volume's failure left. */
async function complaint(block: TestBlock, id: string): Promise<{ event: string; text: string }> {
  const { body } = await block.request('member', 'GET', `/messages?resource_uuid=${id}`, { version: '3.5' })
  assert.equal(body.messages.length, 1)
  return { event: body.messages[0].event_id, text: body.messages[0].user_message }
}

onEachEngine((engine) => {
  test(`a raw image becomes a bootable volume with its facts, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const data = randomBytes(3 * MiB + 100)
    const image = block.images.add(data, { minDiskGib: 1, properties: { os_distro: 'debian' } })
    const id = await create(block, image)
    await block.idle()
    const { volume } = (await block.request('member', 'GET', `/volumes/${id}`)).body
    assert.equal(volume.status, 'available')
    assert.equal(volume.bootable, 'true')
    assert.deepEqual(volume.volume_image_metadata, {
      os_distro: 'debian',
      image_id: image,
      image_name: 'an image',
      container_format: 'bare',
      disk_format: 'raw',
      checksum: (await block.images.show(image)).checksum,
      min_disk: '1',
      min_ram: '0',
      size: String(data.byteLength),
    })
    const copied = await bytesOf(block, id, 4 * MiB)
    assert.ok(copied.subarray(0, data.byteLength).equals(data), 'the same bytes')
    assert.ok(copied.subarray(data.byteLength).equals(Buffer.alloc(4 * MiB - data.byteLength)), 'then zeroes')

    const clone = await block.request('member', 'POST', '/volumes', {
      body: { volume: { source_volid: id } },
    })
    await block.idle()
    const copy = (await block.request('member', 'GET', `/volumes/${clone.body.volume.id}`)).body.volume
    assert.equal(copy.bootable, 'true')
    assert.equal(copy.volume_image_metadata.image_id, image)
  })

  test(`a shared image on the backend is cloned for those who have accepted it, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const [stored, copied] = [randomBytes(MiB), randomBytes(MiB)]
    const source = await create(block, block.images.add(stored))
    await block.idle()
    const { provider_location: location } = await block.database.kysely
      .selectFrom('volumes')
      .select('provider_location')
      .where('id', '=', source)
      .executeTakeFirstOrThrow()
    const image = block.images.add(copied, {
      visibility: 'shared',
      ownerProjectId: 'somebody-else',
      locations: [location ?? ''],
    })
    const bytesOfNew = async () => {
      const id = await create(block, image)
      await block.idle()
      return await bytesOf(block, id, MiB)
    }
    assert.ok((await bytesOfNew()).equals(copied), 'a stranger gets a copy through the Image API')
    block.images.accepted.set(image, [projects.demo])
    assert.ok((await bytesOfNew()).equals(stored), 'a member gets a clone of what lies on the backend')
  })

  test(`an image that lies in a volume is cloned from it, if the volume says so too, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const [stored, copied] = [randomBytes(MiB), randomBytes(MiB)]
    const imageVolume = await create(block, block.images.add(stored))
    await block.idle()
    const tell = (metadata: Record<string, string>) =>
      block.request('member', 'POST', `/volumes/${imageVolume}/metadata`, { body: { metadata } })
    for (const location of [`cinder://store/${imageVolume}`, `cinder://${imageVolume}`]) {
      const image = block.images.add(copied, { locations: ['file:///elsewhere', location] })
      const bytesOfNew = async (size: number) => {
        const id = await create(block, image, size)
        await block.idle()
        return await bytesOf(block, id, MiB)
      }
      await tell({ glance_image_id: 'another', image_size: String(MiB) })
      assert.ok((await bytesOfNew(1)).equals(copied), 'the volume is of another image')
      await tell({ glance_image_id: image })
      for (const size of [1, 2]) assert.ok((await bytesOfNew(size)).equals(stored), `cloned to ${size} GiB`)
    }
  })

  test(`images that cannot become volumes are refused at once, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const data = Buffer.alloc(512)
    const cases: readonly (readonly [string, RegExp])[] = [
      [block.images.add(data, { status: 'queued' }), /is not active/],
      [block.images.add(data, { sizeBytes: 3 * GiB }), /image 3GB is larger than volume size 1GB/],
      [
        block.images.add(data, { virtualSizeBytes: 2 * GiB }),
        /virtual disk 2GB is larger than volume size 1GB/,
      ],
      [block.images.add(data, { minDiskGib: 5 }), /smaller than the image minDisk size 5GB/],
      [block.images.add(data, { diskFormat: 'vmdk' }), /disk format vmdk cannot be made into a volume/],
      [block.images.add(data, { containerFormat: 'ova' }), /container format ova/],
    ]
    for (const [imageRef, message] of cases) {
      const answer = await block.request('member', 'POST', '/volumes', {
        body: { volume: { size: 1, imageRef } },
      })
      assert.equal(answer.status, 400)
      assert.match(answer.body.badRequest.message, message)
    }
    const { body } = await block.request('member', 'GET', '/volumes')
    assert.deepEqual(body.volumes, [], 'nothing is left behind')
  })

  test(`an image can be named, unless several have the name, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const id = block.images.add(Buffer.alloc(512), { name: 'one' })
    block.images.add(Buffer.alloc(512), { name: 'two' })
    block.images.add(Buffer.alloc(512), { name: 'two' })
    const create = (imageRef: string) =>
      block.request('member', 'POST', '/volumes', { body: { volume: { size: 1, imageRef } } })
    assert.equal((await create('none')).status, 400)
    assert.equal((await create('two')).status, 409)
    const { body } = await create('one')
    await block.idle()
    const shown = await block.request('member', 'GET', `/volumes/${body.volume.id}`)
    assert.equal(shown.body.volume.volume_image_metadata.image_id, id)
  })

  test(`a process that stops while copying an image leaves nothing half-made, on ${engine.name}`, async () => {
    await using database = await openDatabase(engine)
    const driver = new MemoryVolumeDriver({ poolName: 'first', capacityBytes: 100 * GiB })
    const images = new TestImages()
    const data = randomBytes(2 * MiB)
    const image = images.add(data)
    let id: string
    {
      await using stopping = await startTestBlock(engine, { database, driver, images })
      const begun = Promise.withResolvers<void>()
      images.beforeOpen = (signal) => {
        begun.resolve()
        return sleep(600_000, signal) // this run comes no further
      }
      id = await create(stopping, image)
      await begun.promise
      const shown = await stopping.request('member', 'GET', `/volumes/${id}`)
      assert.equal(shown.body.volume.status, 'downloading')
      // a part of the image, as if it had been written
      await using device = await driver.open(factsOf(id), 'rw', uncancelled())
      await device.write(512 * MiB, randomBytes(MiB), uncancelled())
    }
    images.beforeOpen = async () => {}
    await using block = await startTestBlock(engine, { database, driver, images })
    await block.until(`/volumes/${id}`, 'volume', 'available')
    const copied = await bytesOf(block, id, 513 * MiB)
    assert.ok(copied.subarray(0, data.byteLength).equals(data))
    assert.ok(copied.subarray(512 * MiB).equals(Buffer.alloc(MiB)), 'what was written before is gone')
    assert.deepEqual(driver.ids, [id])
  })

  test(`a job that is found again after it had finished leaves the volume alone, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const data = randomBytes(MiB)
    const id = await create(block, block.images.add(data))
    await block.idle()
    const definition = block.service.jobDefinitions.find(({ kind }) => kind === 'volume.create')
    assert.ok(definition)
    const job = {
      ...uncancelled(),
      id: 'again',
      requestId: 'req-again',
      attempt: 2,
      state: { host: 'node@first#first', name: `volume-${id}`, sizeGib: 1, projectId: '', phase: 'copying' },
      save: async () => {},
    }
    await definition.run({ volumeId: id, imageId: null } as never, job)
    await definition.fail({ volumeId: id, imageId: null } as never, new Error('late'), job)
    assert.ok((await bytesOf(block, id, MiB)).equals(data))
    assert.equal((await block.request('member', 'GET', `/volumes/${id}`)).body.volume.status, 'available')
  })

  test(`a volume that is force-deleted while an image is copied is gone for good, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const held = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    block.images.beforeOpen = () => {
      begun.resolve()
      return held.promise
    }
    const id = await create(block, block.images.add(randomBytes(MiB)))
    await begun.promise
    const action = { body: { 'os-force_delete': {} } }
    assert.equal((await block.request('admin', 'POST', `/volumes/${id}/action`, action)).status, 202)
    held.resolve()
    await block.idle()
    assert.equal((await block.request('admin', 'GET', `/volumes/${id}`)).status, 404)
    assert.deepEqual(block.driver.ids, [])
  })

  test(`an image that turns out to be unreadable ends in error with a message, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    block.images.beforeOpen = () => Promise.reject(new Error('the store is on fire'))
    const id = await create(block, block.images.add(randomBytes(MiB)))
    await block.idle()
    assert.equal((await block.request('member', 'GET', `/volumes/${id}`)).body.volume.status, 'error')
    assert.deepEqual(block.driver.ids, [], 'nothing is left on the backend')
    assert.equal((await complaint(block, id)).event, 'VOLUME_VOLUME_005_001')
    assert.equal((await block.request('member', 'DELETE', `/volumes/${id}`)).status, 202)
    await block.idle()
    assert.equal((await block.request('member', 'GET', `/volumes/${id}`)).status, 404)
  })
})

const qemuImg = whyNoQemuImg()
onEachEngine((engine) => {
  if (engine.name !== 'SQLite') return
  test('a qcow2 image becomes its disk, and one with a backing file is refused', {
    skip: qemuImg,
  }, async () => {
    await using block = await startTestBlock(engine)
    const directory = await mkdtemp(join(tmpdir(), 'emberglass-qcow2-'))
    try {
      const data = randomBytes(2 * MiB)
      await writeFile(join(directory, 'disk.raw'), data)
      const run = (...words: string[]) => execFileSync('qemu-img', words, { cwd: directory, stdio: 'pipe' })
      run('convert', '-O', 'qcow2', 'disk.raw', 'disk.qcow2')
      run('create', '-f', 'qcow2', '-b', 'disk.raw', '-F', 'raw', 'backed.qcow2')
      run('create', '-f', 'qcow2', 'large.qcow2', '3G')
      const add = async (name: string) =>
        block.images.add(await readFile(join(directory, name)), { diskFormat: 'qcow2', name })
      const good = await create(block, await add('disk.qcow2'))
      const backed = await create(block, await add('backed.qcow2'))
      const large = await create(block, await add('large.qcow2'))
      const mislabelled = await create(block, block.images.add(data, { diskFormat: 'qcow2' }))
      await block.idle()
      const status = async (id: string) =>
        (await block.request('member', 'GET', `/volumes/${id}`)).body.volume.status
      assert.equal(await status(good), 'available')
      assert.ok((await bytesOf(block, good, data.byteLength)).equals(data))
      assert.equal(await status(backed), 'error')
      const { event, text } = await complaint(block, backed)
      assert.equal(event, 'VOLUME_VOLUME_005_029')
      assert.match(text, /backing file/i)
      assert.equal((await complaint(block, large)).event, 'VOLUME_VOLUME_005_007')
      assert.equal((await complaint(block, mislabelled)).event, 'VOLUME_VOLUME_005_029')
      assert.deepEqual(block.driver.ids, [good])
    } finally {
      await rm(directory, { recursive: true })
    }
  })
})

function whyNoQemuImg(): string | false {
  try {
    execFileSync('qemu-img', ['--version'], { stdio: 'pipe' })
    return false
  } catch {
    return 'qemu-img is not installed'
  }
}

async function openDatabase(engine: TestEngine) {
  return await engine.open<Tables>({ jobs: jobMigrations, block: blockMigrations })
}
