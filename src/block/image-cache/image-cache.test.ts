import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { MiB } from '../../kernel/bytes.ts'
import { onEachEngine } from '../../kernel/db/testing.ts'
import { projects, startTestBlock, type TestBlock } from '../testing.ts'

const config = {
  DEFAULT: {
    enabled_backends: 'first',
    cinder_internal_tenant_project_id: projects.other,
    cinder_internal_tenant_user_id: 'cache',
  },
  first: { volume_driver: 'memory', image_volume_cache_enabled: 'true', image_volume_cache_max_count: '1' },
}

async function volumeOf(block: TestBlock, imageRef: string, size = 1) {
  const body = { volume: { size, imageRef } }
  const answer = await block.request('member', 'POST', '/volumes', { body })
  assert.equal(answer.status, 202, answer.text)
  await block.idle()
  const shown = await block.request('member', 'GET', `/volumes/${answer.body.volume.id}`)
  assert.equal(shown.body.volume.status, 'available')
  assert.equal(shown.body.volume.volume_image_metadata.image_id, imageRef)
  return shown.body.volume
}

onEachEngine((engine) => {
  test(`an image is copied once, and its cached volume costs no quota, on ${engine.name}`, async () => {
    await using block = await startTestBlock(engine, { config })
    let opened = 0
    block.images.beforeOpen = async () => {
      opened++
    }
    const imageId = block.images.add(randomBytes(MiB))
    await volumeOf(block, imageId)
    await volumeOf(block, imageId, 2)
    assert.equal(opened, 1)
    const all = await block.request('admin', 'GET', '/volumes/detail?all_tenants=1', { version: '3.65' })
    const cached = all.body.volumes.find(({ name }: { name: string }) => name === `image-${imageId}`)
    assert.equal(cached.consumes_quota, false)
    assert.equal(cached['os-vol-tenant-attr:tenant_id'], projects.other)
    const { limits } = (await block.request('stranger', 'GET', '/limits')).body
    assert.equal(limits.absolute.totalVolumesUsed, 0)

    const other = block.images.add(randomBytes(MiB))
    await volumeOf(block, other)
    await block.idle()
    const names = (await block.request('admin', 'GET', '/volumes?all_tenants=1')).body.volumes.map(
      ({ name }: { name: string }) => name,
    )
    assert.ok(names.includes(`image-${other}`))
    assert.equal(names.includes(`image-${imageId}`), false, 'the least recently used one made room')
  })
})
