import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { MemoryDevice, readBytes } from '@emberglass/iscsi/device'
import { MiB } from '../../kernel/bytes.ts'
import { uncancelled } from '../../kernel/call.ts'
import { onEachEngine, testEngines } from '../../kernel/db/testing.ts'
import { startTestBlock, type TestBlock } from '../testing.ts'
import type { BackendVolume } from '../volume-driver.ts'
import { convertedDisk } from './convert-disk.ts'

const facts = (id: string): BackendVolume => ({
  id,
  name: `volume-${id}`,
  sizeBytes: 1024 * MiB,
  projectId: '',
  type: undefined,
  metadata: {},
  providerLocation: undefined,
})

async function post(block: TestBlock, path: string, body: object, status = 202) {
  const answer = await block.request('member', 'POST', path, { body, version: '3.71' })
  assert.equal(answer.status, status, answer.text)
  await block.idle()
  return answer.body
}

async function write(block: TestBlock, id: string, bytes: Uint8Array): Promise<void> {
  await using device = await block.driver.open(facts(id), 'rw', uncancelled())
  await device.write(0, bytes, uncancelled())
}

async function read(block: TestBlock, id: string, length: number): Promise<Uint8Array> {
  await using device = await block.driver.open(facts(id), 'r', uncancelled())
  return new Uint8Array(await readBytes(device, 0, length, uncancelled()))
}

const statusOf = async (block: TestBlock, id: string) =>
  (await block.request('admin', 'GET', `/volumes/${id}`)).body.volume.status

onEachEngine((engine) => {
  test(`a volume becomes an image with its bytes and properties, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const imageId = block.images.add(randomBytes(MiB), { properties: { os_distro: 'ember' } })
    const { volume } = await post(block, '/volumes', { volume: { size: 1, imageRef: imageId } })
    const bytes = randomBytes(MiB)
    await write(block, volume.id, bytes)
    const path = `/volumes/${volume.id}/action`
    const upload = { 'os-volume_upload_image': { image_name: 'out', visibility: 'public' } }
    await post(block, path, upload, 403)
    const answer = await post(block, path, { 'os-volume_upload_image': { image_name: 'out', force: 'True' } })
    const image = answer['os-volume_upload_image']
    assert.equal(image.status, 'uploading')
    assert.equal(image.visibility, 'private')
    assert.equal(await statusOf(block, volume.id), 'available')
    const made = await block.images.show(image.image_id)
    assert.equal(made.status, 'active')
    assert.equal(made.sizeBytes, 1024 * MiB)
    assert.deepEqual(made.properties, { os_distro: 'ember' })
    const device = await block.images.open(image.image_id, uncancelled())
    assert.deepEqual(new Uint8Array(await readBytes(device, 0, MiB, uncancelled())), new Uint8Array(bytes))
  })

  test(`a volume is taken back to its newest snapshot, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const { volume } = await post(block, '/volumes', { volume: { size: 1 } })
    const before = randomBytes(MiB)
    await write(block, volume.id, before)
    const older = await post(block, '/snapshots', { snapshot: { volume_id: volume.id } })
    const newer = await post(block, '/snapshots', { snapshot: { volume_id: volume.id } })
    await write(block, volume.id, randomBytes(MiB))
    const path = `/volumes/${volume.id}/action`
    await post(block, path, { revert: { snapshot_id: older.snapshot.id } }, 400)
    await post(block, path, { revert: { snapshot_id: newer.snapshot.id } })
    assert.equal(await statusOf(block, volume.id), 'available')
    assert.deepEqual(await read(block, volume.id, MiB), new Uint8Array(before))
    await post(block, path, { 'os-extend': { new_size: 2 } })
    await post(block, path, { revert: { snapshot_id: newer.snapshot.id } }, 400)
    assert.equal(block.driver.ids.length, 3)
  })

  test(`a volume is filled from another image and keeps nothing of the first, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine)
    const image = randomBytes(MiB)
    const imageId = block.images.add(image, { name: 'second' })
    const { volume } = await post(block, '/volumes', { volume: { size: 1 } })
    await write(block, volume.id, randomBytes(2 * MiB))
    const path = `/volumes/${volume.id}/action`
    await post(block, path, { 'os-reimage': { image_id: volume.id } }, 400)
    await post(block, path, { 'os-reimage': { image_id: imageId } })
    assert.equal(await statusOf(block, volume.id), 'available')
    const after = await read(block, volume.id, 2 * MiB)
    assert.deepEqual(after.subarray(0, MiB), new Uint8Array(image))
    assert.deepEqual(after.subarray(MiB), new Uint8Array(MiB))
    const shown = await block.request('member', 'GET', `/volumes/${volume.id}`)
    assert.equal(shown.body.volume.volume_image_metadata.image_name, 'second')
    await post(block, path, { 'os-extend_volume_completion': {} }, 403)
  })
})

const skip = spawnSync('qemu-img', ['--version']).error === undefined ? false : 'qemu-img is not installed'

/** The first MiB of a disk in a file, as qemu-img reads it. */
async function headOf(file: string, format: string): Promise<Uint8Array> {
  const argv = ['dd', '-f', format, '-O', 'raw', `if=${file}`, `of=${file}.raw`, 'bs=1M', 'count=1']
  const { status, stderr } = spawnSync('qemu-img', argv, { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return new Uint8Array(await readFile(`${file}.raw`))
}

test('a volume becomes a qcow2 image with its bytes, and nothing is left of the way there', {
  skip,
}, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-upload-'))
  t.after(() => rm(directory, { recursive: true }))
  const [engine] = testEngines().engines
  assert.ok(engine)
  await using block = await startTestBlock(engine, {
    config: {
      DEFAULT: { enabled_backends: 'first', image_conversion_dir: join(directory, 'conversion') },
      first: { volume_driver: 'memory' },
    },
  })
  const { volume } = await post(block, '/volumes', { volume: { size: 1 } })
  const bytes = new Uint8Array(randomBytes(MiB))
  await write(block, volume.id, bytes)
  const upload = { image_name: 'out', container_format: 'bare', disk_format: 'qcow2' }
  const answer = await post(block, `/volumes/${volume.id}/action`, { 'os-volume_upload_image': upload })
  const made = await block.images.show(answer['os-volume_upload_image'].image_id)
  assert.deepEqual([made.status, made.diskFormat], ['active', 'qcow2'])
  assert.equal(await statusOf(block, volume.id), 'available')
  await writeFile(join(directory, 'disk'), block.images.download(made.id))
  assert.deepEqual(await headOf(join(directory, 'disk'), 'qcow2'), bytes)
  assert.deepEqual(await readdir(join(directory, 'conversion')), [])
})

test('vmdk and vhd hold the bytes of the volume too', { skip }, async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'emberglass-convert-'))
  t.after(() => rm(directory, { recursive: true }))
  const device = new MemoryDevice(4 * MiB)
  const bytes = new Uint8Array(randomBytes(MiB))
  device.write(0, bytes, uncancelled())
  for (const [format, program] of Object.entries({ vmdk: 'vmdk', vhd: 'vpc' })) {
    await using disk = await convertedDisk(device, format, join(directory, 'place'), uncancelled())
    const file = join(directory, format)
    await writeFile(file, disk.bytes())
    assert.deepEqual(await headOf(file, program), bytes, format)
  }
})
